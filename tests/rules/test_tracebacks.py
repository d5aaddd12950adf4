"""The own places of a traceback, innermost first."""

from __future__ import annotations

from scheduler_app.rules.tracebacks import SHOWN, own_places

TRACEBACK = """Traceback (most recent call last):
  File "/srv/shop/mail.py", line 12, in send
    server.login(user)
    ^^^^^^^^^^^^^^^^^^
  File "/usr/lib/python3.11/smtplib.py", line 750, in login
    raise SMTPException(
smtplib.SMTPException: no

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/.venv/lib/python3.11/site-packages/celery/app.py", line 1, in run
    task()
  File "/srv/shop/tasks.py", line 7, in nightly
    send("all")
  File "/srv/shop/mail.py", line 14, in send
    raise Undelivered() from error
shop.Undelivered
"""


def test_own_places_come_innermost_first_with_their_code() -> None:
    places = own_places(TRACEBACK)

    assert [(place.frame.path, place.frame.line, place.code) for place in places] == [
        ("/srv/shop/mail.py", 14, "raise Undelivered() from error"),
        ("/srv/shop/tasks.py", 7, 'send("all")'),
        ("/srv/shop/mail.py", 12, "server.login(user)"),
    ]


def test_a_recursion_is_bounded_and_a_text_that_is_none_has_no_place() -> None:
    deep = "".join(f'  File "/srv/a.py", line {n}, in f\n    f()\n' for n in range(1000))

    assert len(own_places(deep)) == SHOWN
    assert own_places("Killed") == own_places("") == []
    assert own_places('  File "/srv/a.py", line 3')[0].code == ""
