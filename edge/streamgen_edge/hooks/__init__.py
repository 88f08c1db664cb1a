"""Hooks: services elsewhere that are told what happens to streams, by signed POSTs.

`event` (what is told), `outbox` (what is left to tell), `delivery` (one try), `sender` (a task for
each service), `hooks` (all of them), `routes` (how they do).
"""
