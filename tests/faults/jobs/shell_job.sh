# A job of the kind `shell`: writes in the side log what a task would. Arguments: execution, attempt, fire time.
key="sh-$$-$(date +%N)"
# After a crash a job runs in a child of a child of its node.
ancestors="$$, $PPID"
parent=$PPID
for _ in 1 2 3; do
    parent=$(ps -o ppid= -p "$parent" | tr -d ' ')
    ancestors="$ancestors, ${parent:-0}"
done
fire_time=$(date -d "$3" +%s)
printf '{"step": "began", "key": "%s", "execution": %s, "attempt": %s, "fire_time": %s, "pids": [%s], "at": %s}\n' \
    "$key" "$1" "$2" "$fire_time" "$ancestors" "$(date +%s.%N)" >> "$DRILL_SIDE_LOG"
sleep 0.2
printf '{"step": "returned", "key": "%s", "at": %s}\n' "$key" "$(date +%s.%N)" >> "$DRILL_SIDE_LOG"
