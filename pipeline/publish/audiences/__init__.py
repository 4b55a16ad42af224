"""Audiences for marketing tools: who, for which destination, in which form, and what changed since they last said so.

`policy` reads the seeds that declare audiences and destinations, `rules` their small language, `source` the home,
`selection` decides who is in, `normalise` spells one value as one vendor wants it, `profiles` renders a person,
`writers` make files of rows, `diff` and `state` know what a destination holds. `plan` says what an export would do,
`outbox` writes it, `export` is the two together; `delivery` sends it, `holdings` notes what destinations say.
"""
