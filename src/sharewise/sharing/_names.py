"""Task names as parts of parameter names."""

from __future__ import annotations


def module_key(task: str) -> str:
    """An identifier that stands for any task name: letters and digits stay, ``_`` doubles, the rest is escaped.

    Modules refuse names with dots, empty ones and those of their own attributes; task names are the user's and may
    be anything. Different names give different keys, so parameters find their task whatever the order.

    >>> module_key("a.b")
    'task_a_2e_b'
    """
    return "task_" + "".join(c if c.isascii() and c.isalnum() else "__" if c == "_" else f"_{ord(c):x}_" for c in task)
