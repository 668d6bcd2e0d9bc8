"""Helpers of the tests, grouped by the directory of tests that uses them.

In every test:

- `waiting`: conditions with a deadline; `virtual`: virtual time
- `words`: the checker of words, a part of `make lint`
- `sharing`: which tests share a process
- `typed`: what a line of an editor's text shows, written apart from the renderer; generated lines

The hub and its transports without sockets or a store (tests/unit):

- `sources`: a store with pub/sub in memory, a fake reader, and a hub that reads that store
- `scene`: one blog in the store of `sources`, in one worker; `alone`: one part of the hub by itself
- `memory`: connections in memory; `scenarios`: live/door.py and live/direct.py on such connections
- `world` and `machine`: the model-based test of two workers under all faults
- `judge`: compares what readers applied with the store's history
- `clients`: the readers in the model-based test, written from docs/streams.md
- `mutants` and `mutants_door`: bugs made on purpose, which the model-based test and the scenarios
  must find

Real servers and stores (tests/integration):

- `forked`: short commands without the time of imports
- `servers`: servers as child processes; `processes`: pids of a server's workers and store
- `counting`: a worker without readers, for tests of metrics
- `stores`: Valkey or Redis as the store; `clusters`: clusters and sentinels
- `directories`: data directories of embedded stores, and their repair
- `contents`: all keys and values of a store; `conditions`: what a store can suffer, and its cure;
  `people`: a clock and cheap hashes for accounts
- `bulk`: thousands of blogs, copied within the store; `crowd`: a reader on each, in another process
- `preload`: C libraries that slow a disk down or shift a clock; `shifted`: a store with such a clock
- `readers`: readers by every transport; `forms`: what the desk's forms send without scripts
- `proxies`: nginx, HAProxy, Varnish and Caddy in front of a server
- `raw`: bytes on a socket; `direct`: servers and readers for tests of live/direct.py

Faults (tests/chaos):

- `stage`: a store, two workers, editors and readers
- `newsroom`: the editors; `audience`: the readers
- `proxy`: a faulty network; `trouble`: random faults; `matrix`: the table of all faults

Browsers (tests/browser) and measurements (tests/measure):

- `windows`: Chromium with signed-in editors; `watching`: a page during a fault
- `engines`: Chromium, Firefox and WebKitGTK; `evening`: an editor's evening in each of them
- `story`: a random story of the desk, played by `playing`; `newsdesk`: its store, server and browsers;
  `profiles`: Chromium on a profile directory, with real kills; `seats`, `writing` and `hand`: what an
  editor does in a tab; `ledger` and `remains`: what was typed, and what became of it
- `mutants_desk`: bugs made on purpose, which the stories must find; `rivals`: five editors who save
  the same texts
- `audits`, `painting` and `weighing`: measure the reader's page (accessibility, movement, size)
- `desks`: every page of the desk, in the states in which it shows something else
- `samples`: blogs to look at and to measure; `figure`: a measured figure and its limit
"""
