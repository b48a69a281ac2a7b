#!/bin/sh
# Dynamic inventory: the local test hosts that are up now. One that is down is not in it, so that the demo's `pegasus`
# can never be taken for a real machine of that name.
exec "$(dirname "$0")/../../.venv/bin/testbed" inventory pegasus unicorn
