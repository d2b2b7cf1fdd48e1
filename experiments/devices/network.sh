#!/usr/bin/env bash
# A deployment over a network, on one Linux machine: a firewalled server, devices behind NAT, a stranger, a lost link.
#
#     sudo EDGEFED="$(command -v edgefed)" experiments/devices/network.sh
#
# Namespaces stand for the machines, laid out as the guide (docs/devices.md) has it:
#   lab     192.168.1.0/24   server .20 (ufw with the guide's rule), device-0 .30, router .40, gateway .1
#   home    10.0.0.0/24      device-1 .11 and device-2 .12, behind the router, which masquerades
#   street  203.0.113.0/24   outsider .9, behind the gateway
# Needs root, iproute2, nftables, ufw and curl. This machine's own network and firewall stay as they are.
# Exit code 0: all was as the guide says.
set -euo pipefail

edgefed=${EDGEFED:-edgefed} server=192.168.1.20
hosts="switch server gateway router outsider device-0 device-1 device-2"
[ "$(id -u)" = 0 ] || { echo "namespaces need root: sudo EDGEFED=\"\$(command -v edgefed)\" $0" >&2; exit 2; }
for tool in ip nft ufw curl "$edgefed"; do
    command -v "$tool" >/dev/null || { echo "$tool: not found; of Debian: iproute2 nftables ufw curl" >&2; exit 2; }
done
if ip netns list | grep -q '^edgefed-'; then
    echo "namespaces edgefed-* are there already: is this running? 'ip netns del NAME' removes one" >&2
    exit 2
fi
work=$(mktemp -d)
cd "$work"

say() { printf '%s\n' "$*" >&2; }
fail() { say "NOT AS EXPECTED: $*"; tail -n 5 "$work"/*.log >&2; exit 1; }
on() { ip netns exec "edgefed-$1" "${@:2}"; }
set_link() { ip -n "edgefed-$1" link set "$2" "$3"; }

stop() {
    for host in $hosts; do
        ip netns pids "edgefed-$host" 2>/dev/null | xargs -r kill 2>/dev/null || true
    done
    wait
    for host in $hosts; do ip netns del "edgefed-$host" 2>/dev/null || true; done
    rm -rf /etc/netns/edgefed-server "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

plug() { # HOST NETWORK ADDRESS [GATEWAY]
    ip -n "edgefed-$1" link add "$2" type veth peer name "$2-$1" netns edgefed-switch
    ip -n edgefed-switch link set "$2-$1" master "$2" up
    ip -n "edgefed-$1" address add "$3/24" dev "$2"
    set_link "$1" "$2" up
    [ -z "${4-}" ] || ip -n "edgefed-$1" route add default via "$4"
}

start() { # HOST NAME WORDS...: `edgefed WORDS` in the background
    ip netns exec "edgefed-$1" "$edgefed" "${@:3}" >"$2.log" 2>&1 </dev/null &
}

until_seen() { # WHAT COMMAND...: for five minutes at most
    local what=$1 deadline=$((SECONDS + 300))
    until "${@:2}" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || fail "not seen within five minutes: $what"
        sleep 1
    done
    say "seen: $what"
}

answer() { # HOST PATH: the status of a request to the server
    on "$1" curl -s -o /dev/null -w '%{http_code}' --max-time 4 --cacert lab/ca/ca.crt -X POST "https://$server:8000$2" || true
}

expect() { # WHAT WANTED FOUND
    [ "$2" = "$3" ] || fail "$1: $3 in place of $2"
    say "seen: $1: $3"
}

connected() { on server "$edgefed" status lab --format json | grep -o '"connected": true' | wc -l | grep -qx "$1"; }
verdict() { grep "^[0-9]*,$1," "$2/clients.csv" | tail -n 1 | grep -q ",$3"; }
weights() { sed -n 's/.*"model_sha256": "\([0-9a-f]*\)".*/\1/p' "$1" | head -n 1; }

# ---- the network
for host in $hosts; do
    ip netns add "edgefed-$host"
    set_link "$host" lo up
done
for network in lab home street; do
    ip -n edgefed-switch link add "$network" type bridge
    set_link switch "$network" up
done
plug server lab $server 192.168.1.1
plug gateway lab 192.168.1.1
plug gateway street 203.0.113.1
plug outsider street 203.0.113.9 203.0.113.1
plug router lab 192.168.1.40 192.168.1.1
plug router home 10.0.0.1
plug device-0 lab 192.168.1.30 192.168.1.1
plug device-1 home 10.0.0.11 10.0.0.1
plug device-2 home 10.0.0.12 10.0.0.1
for host in gateway router; do on $host sysctl -qw net.ipv4.ip_forward=1; done
on router nft 'add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; };
               add rule ip nat out oifname lab masquerade'
# `ip netns exec` binds what lies here over /etc: this machine's own rules stay as they are.
mkdir -p /etc/netns/edgefed-server
cp -r /etc/ufw /etc/netns/edgefed-server/ufw
on server ufw allow from 192.168.1.0/24 to any port 8000 proto tcp
on server ufw --force enable

# ---- the deployment, by the guide's commands
"$edgefed" provision --server $server --devices 3 --out lab
"$edgefed" shards -s num-clients=3 -s alpha=1 --out shards
start server server launch-server lab
until_seen "the server serves" grep -q "serving at https://$server:8000" server.log
for place in 0 1 2; do
    start device-$place device-$place launch-device lab/devices/device-$place --data shards/client-$place.csv
done
until_seen "three devices are connected, two of them behind NAT" connected 3

expect "a request to the devices' interface from the lab, of no device (it is no message)" 415 "$(answer device-0 /v1/fleet/pull-messages)"
expect "a request to the control interface from the lab" 403 "$(answer device-0 /v1/control/list-runs)"
expect "the same from behind NAT" 403 "$(answer device-1 /v1/control/list-runs)"
expect "the same from the street, which the firewall drops" 000 "$(answer outsider /v1/control/list-runs)"
cp -r lab/devices/device-0 stranger
start outsider outsider launch-device stranger --data shards/client-0.csv
until_seen "a device outside the firewall's network says so" grep -q "cannot be reached (no answer)" outsider.log

on server "$edgefed" launch lab shards/settings.toml -s num-server-rounds=3 --out run --format json >run.json
"$edgefed" run -s num-clients=3 -s alpha=1 -s num-server-rounds=3 --engine sequential --out simulated --format json >simulated.json
expect "weights of devices, as those of the simulation" "$(weights simulated.json)" "$(weights run.json)"

# ---- a link that is lost in the middle of a run, and comes back
start server cut launch lab shards/settings.toml -s num-server-rounds=1000 -s round-timeout=3 --out cut
until_seen "device-2 takes part" verdict 2 cut ok
set_link device-2 home down
until_seen "its link is down, and it is late" verdict 2 cut late
set_link device-2 home up
ip -n edgefed-device-2 route add default via 10.0.0.1
until_seen "its link is up, and it takes part again" verdict 2 cut ok
verdict 0 cut ok || fail "device-0 was disturbed"
