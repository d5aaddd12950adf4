# A job of the kind `shell`: writes in the side log what a task would. Arguments: execution, attempt, fire time.
key="sh-$$-$(date +%N)"
fire_time=$(date -d "$3" +%s)
printf '{"step": "began", "key": "%s", "execution": %s, "attempt": %s, "fire_time": %s, "pids": [%s, %s], "at": %s}\n' \
    "$key" "$1" "$2" "$fire_time" "$$" "$PPID" "$(date +%s.%N)" >> "$DRILL_SIDE_LOG"
sleep 0.2
printf '{"step": "returned", "key": "%s", "at": %s}\n' "$key" "$(date +%s.%N)" >> "$DRILL_SIDE_LOG"
