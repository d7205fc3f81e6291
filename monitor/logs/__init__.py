"""The BFF's log as a witness: which bytes are new, what they say, and what they said over a sliding window.

`follow` knows which bytes are new whatever rotation does, `scan` turns lines into counts, `window` keeps what
the counts were over time. `worker` runs the scan in a child process, `journal` holds it all together for one log,
and `mask` takes out of a line what must not leave this machine.
"""
