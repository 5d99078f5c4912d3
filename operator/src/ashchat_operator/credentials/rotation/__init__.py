"""Rotation of credentials without a gap, one phase after the other.

    Idle → Adding → Distributing → Proving → Retiring → Verifying → Idle

`status.rotation` holds one entry per kind (`machine.State`); the values are in the Secrets.
Nothing else is remembered: every look derives from these two what the Secrets, the backends
and the pods are to be in this phase, brings them there, and goes on to the next phase when
nothing is outstanding. So every step may be interrupted and is simply done again.

How a kind plugs in:

- `credentials.complete` gets the kind's `State` and returns what the Secrets hold in its
  phase. `Adding`: a new one beside the active one, made if it is not there. From
  `Distributing` on: `state.active` is the new one, the former is kept. `Idle`: the former
  is gone. Which of `Retiring` and `Verifying` it leaves in is the kind's own.
- A `machine.Kind` says what is outstanding in a phase, as a sentence, empty when nothing is;
  and the name of the one that `Distributing` makes active.
- `KINDS` in `rotate` lists it; everything else (triggers, status, condition, events,
  metrics) follows from its name, also the annotation `ashchat.dev/rotate-<name>`.

A rotation goes on only; there is no way back, since both credentials work until `Retiring`,
which is reached only on the proof that every pod uses the new one.
"""
