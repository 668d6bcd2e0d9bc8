"""Helpers of the tests, by what they stand in for.

In every test:

- `waiting`: conditions with a deadline; `virtual`: virtual time
- `words`: the checker of words, a part of `make lint`
- `sharing`: which tests share a process

The core without a kernel or a store (tests/unit):

- `sources`: a store with its pub/sub in memory, readers, a hub on them
- `scene`: one blog on that store; `alone`: each part of a live blog by itself
- `memory`: transports and descriptors in memory; `scenarios`: the door and direct readers on them
- `world` and `machine`: the model, two workers under all faults; `judge`: what readers must hold
- `mutants` and `mutants_door`: seeded bugs that model and scenarios must find

Real servers and stores (tests/integration):

- `servers`: servers as child processes; `processes`: their processes; `counting`: a bare worker
- `stores`: the flavours of the store; `clusters`: clusters and sentinels; `contents`: all that a
  store holds; `preload`: C libraries that slow a disk down or shift a clock
- `readers`: readers by every transport; `clients`: readers that keep to docs/streams.md
- `raw`: bytes on a socket; `direct`: streams byte by byte; `forms`: the desk without scripts

Faults (tests/chaos):

- `stage`: a store, two workers, editors and readers; `newsroom`: the editors; `audience`: the readers
- `proxy`: a faulty network; `trouble`: random faults; `matrix`: the table of all faults

Browsers (tests/browser) and measurements (tests/measure):

- `windows`: Chromium with signed-in editors; `watching`: a page among the readers of a fault
- `audits`, `painting` and `weighing`: figures of the reader's page
- `samples`: blogs to look at and to measure
"""
