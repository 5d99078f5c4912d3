"""Rotation of credentials without interruption, one phase after the other.

    Idle → Adding → Distributing → Proving → Retiring → Verifying → Idle

`status.rotation` holds one entry per kind (`machine.State`); the values are in the Secrets.
Nothing else is remembered: every pass derives from these two what the Secrets, the backends and the
pods must be in this phase, brings them there, and advances to the next phase when nothing is
outstanding. So every step may be interrupted and is simply repeated.

How a kind plugs in:

- `bundle.complete` gets the kind's `RotationState` and returns what the Secrets hold in its phase.
  `Adding`: a new credential in addition to the active one, generated if it does not exist. From
  `Distributing` on: `state.active` is the new one, and the previous one is kept. `Idle`: the
  previous one is removed. Each kind removes it in `Retiring` or in `Verifying`.
- A `machine.RotatingCredential` reports what is outstanding in a phase, as a message, empty when
  nothing is; and the name of the credential that `Distributing` makes active.
- One line in `_FACTORIES` of `reconcile.rotate`; everything else (triggers, status, condition,
  events, metrics) follows from its name, including the annotation `ashchat.dev/rotate-<name>`.

A rotation is never rolled back: both credentials work until `Retiring`, which is reached only when
every pod is proven to use the new one.
"""
