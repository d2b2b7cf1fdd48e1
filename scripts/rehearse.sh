#!/usr/bin/env bash
# Rehearse a deployment on this machine: real processes, TLS and keys, held against the simulation.
#
#     scripts/rehearse.sh --devices 3 --rounds 3 [--format json]
#
# Provisions, starts a server and devices, runs, compares with the simulation, shows the table, and stops everything
# that it started. The same as `edgefed rehearse`, in an environment that is made if need be.
set -euo pipefail
scripts=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
usage=$(sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}")

for python in python3 python; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$python" -c '
import sys
scripts, usage = sys.argv[1:3]
del sys.argv[1:3]
sys.path.insert(0, scripts)
from hand_over import hand_over
from steps import finish
finish(lambda arguments: hand_over(["rehearse"], arguments, usage))
' "$scripts" "$usage" "$@"
    fi
done
echo "Python 3.11 or later is needed, and neither python3 nor python is one" >&2
exit 2
