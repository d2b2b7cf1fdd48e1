#!/usr/bin/env bash
# A deployment over a network, on one Linux machine: a firewalled server, devices behind NAT, a stranger, a lost link;
# then the same over IPv6 alone, and on a server where IPv6 is off.
#
#     sudo EDGEFED="$(command -v edgefed)" experiments/devices/network.sh
#
# Namespaces stand for the machines, laid out as the guide (docs/devices.md) has it:
#   lab     192.168.1.0/24   server .20 (ufw with the guide's rule), device-0 .30, router .40, gateway .1
#   home    10.0.0.0/24      device-1 .11 and device-2 .12, behind the router, which masquerades
#   street  203.0.113.0/24   outsider .9, behind the gateway
# device-0 dials a name that has an IPv6 address too, which the firewall drops. The second scene has no IPv4, and no NAT:
#   lab 2001:db8:1::/64, home 2001:db8:2::/64, street 2001:db8:9::/64, hosts as above
# Needs root, iproute2, nftables, ufw and curl. This machine's own network and firewall stay as they are.
# Exit code 0: all was as the guide says.
set -euo pipefail

edgefed=${EDGEFED:-edgefed} server=192.168.1.20 server6=2001:db8:1::20 name=fl.lab.example
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

quit() { # whatever runs in the namespaces
    for host in $hosts; do
        ip netns pids "edgefed-$host" 2>/dev/null | xargs -r kill 2>/dev/null || true
    done
    wait
}

stop() {
    quit
    for host in $hosts; do ip netns del "edgefed-$host" 2>/dev/null || true; done
    rm -rf /etc/netns/edgefed-server /etc/netns/edgefed-device-0 "$work"
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

plug6() { # HOST NETWORK ADDRESS [GATEWAY]
    ip -n "edgefed-$1" address add "$3/64" dev "$2" nodad
    [ -z "${4-}" ] || ip -n "edgefed-$1" -6 route add default via "$4"
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

answer() { # HOST PATH [ADDRESS]: the status of a request to the server
    on "$1" curl -gs -o /dev/null -w '%{http_code}' --max-time 4 --cacert "$lab/ca/ca.crt" -X POST "https://${3-$server}:8000$2" || true
}

expect() { # WHAT WANTED FOUND
    [ "$2" = "$3" ] || fail "$1: $3 in place of $2"
    say "seen: $1: $3"
}

connected() { on server "$edgefed" status "$lab" --format json | grep -o '"connected": true' | wc -l | grep -qx "$1"; }
verdict() { grep "^[0-9]*,$1," "$2/clients.csv" | tail -n 1 | grep -q ",$3"; }
logged_from() { # HOST ADDRESS: a refused request, of which the log has a line a second at most
    [ "$(answer "$1" /v1/control/list-runs)" = 403 ] && grep -q "refused /v1/control/list-runs to $2:" "$lab/server/logs/server.jsonl"
}
join() { # WHAT: the three devices of the lab
    for place in 0 1 2; do
        start device-$place "$lab-$place" launch-device "$lab/devices/device-$place" --data shards/client-$place.csv
    done
    until_seen "$1" connected 3
}
drops_outsider() { # PLACE ADDRESS: neither a request nor a device reaches the server from outside the firewall's networks
    expect "the control interface from the street, which the firewall drops" 000 "$(answer outsider /v1/control/list-runs)"
    cp -r "$lab/devices/device-$1" "stranger-$lab"
    start outsider "outsider-$lab" launch-device "stranger-$lab" --data shards/client-0.csv
    until_seen "a device outside the firewall's network says so" grep -qF "port 8000 of $2 cannot be reached (no answer)" "outsider-$lab.log"
}
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
for host in gateway router; do on $host sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; done
plug6 server lab $server6 2001:db8:1::1
plug6 device-0 lab 2001:db8:1::30 2001:db8:1::1
on router nft 'add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; };
               add rule ip nat out oifname lab masquerade'
# `ip netns exec` binds what lies here over /etc: this machine's own rules stay as they are.
mkdir -p /etc/netns/edgefed-server
cp -r /etc/ufw /etc/default /etc/netns/edgefed-server
sed -i 's/^IPV6=.*/IPV6=yes/' /etc/netns/edgefed-server/default/ufw
mkdir -p /etc/netns/edgefed-device-0
printf '%s localhost\n' 127.0.0.1 ::1 >/etc/netns/edgefed-device-0/hosts
printf "%s $name\n" $server6 $server >>/etc/netns/edgefed-device-0/hosts
on server ufw allow from 192.168.1.0/24 to any port 8000 proto tcp
on server ufw --force enable

# ---- the deployment, by the guide's commands
lab=lab
"$edgefed" provision --server $server,$name --devices 3 --out lab
sed -i "s/$server:8000/$name:8000/" lab/devices/device-0/device.json
"$edgefed" shards -s num-clients=3 -s alpha=1 --out shards
start server server launch-server lab
until_seen "the server serves" grep -q "serving at https://$server:8000 over IPv4 and IPv6" server.log
on device-0 "$edgefed" doctor lab/devices/device-0 >doctor.log
grep -q "beware  port: $name:8000 answers at $server, not at $server6 (no answer)" doctor.log || fail "$(cat doctor.log)"
say "seen: $(grep "beware  port" doctor.log)"
join "three devices are connected, two of them behind NAT"

expect "a request to the devices' interface from the lab, of no device (it is no message)" 415 "$(answer device-0 /v1/fleet/pull-messages)"
expect "a request to the control interface from the lab" 403 "$(answer device-0 /v1/control/list-runs)"
expect "the same from behind NAT" 403 "$(answer device-1 /v1/control/list-runs)"
drops_outsider 1 $server

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

# ---- the same over IPv6 alone: no NAT, every device has an address of its own
quit
for host in $hosts; do
    for network in lab home street; do ip -n "edgefed-$host" -4 address flush dev $network 2>/dev/null || true; done
done
plug6 gateway lab 2001:db8:1::1
plug6 gateway street 2001:db8:9::1
plug6 outsider street 2001:db8:9::9 2001:db8:9::1
plug6 router lab 2001:db8:1::40 2001:db8:1::1
plug6 router home 2001:db8:2::1
plug6 device-1 home 2001:db8:2::11 2001:db8:2::1
plug6 device-2 home 2001:db8:2::12 2001:db8:2::1
ip -n edgefed-gateway -6 route add 2001:db8:2::/64 via 2001:db8:1::40
for network in 1 2; do on server ufw allow from 2001:db8:$network::/64 to any port 8000 proto tcp; done

lab=lab6 server="[$server6]"
"$edgefed" provision --server $server6 --devices 3 --out lab6
start server server6 launch-server lab6
until_seen "the server serves at an IPv6 address" grep -qF "serving at https://$server:8000" server6.log
join "three devices are connected over IPv6"

expect "the devices' interface over IPv6, of no device" 415 "$(answer device-0 /v1/fleet/pull-messages)"
expect "the control interface from the lab over IPv6" 403 "$(answer device-0 /v1/control/list-runs)"
expect "the same from beyond a router" 403 "$(answer device-1 /v1/control/list-runs)"
until_seen "it came from the device's own address" logged_from device-1 2001:db8:2::11
expect "the same from the server's own global address" 403 "$(answer server /v1/control/list-runs)"
expect "the same from the server's loopback (it is no message)" 415 "$(answer server /v1/control/list-runs '[::1]')"
drops_outsider 0 $server6
start device-1 other launch-device lab/devices/device-1 --data shards/client-1.csv
until_seen "a device without IPv4 that dials IPv4 says so" grep -q "this machine has no way to IPv4 addresses" other.log

on server "$edgefed" launch lab6 shards/settings.toml -s num-server-rounds=3 --out run6 --format json >run6.json
expect "weights of devices over IPv6, as those of the simulation" "$(weights simulated.json)" "$(weights run6.json)"

# ---- a server on which IPv6 is off
quit
on server sysctl -qw net.ipv6.conf.all.disable_ipv6=1
start server off launch-server lab
until_seen "without IPv6 the server says so and goes on" grep -q "over IPv4; 3 devices may join" off.log
grep -qx "edgefed: IPv6 is off on this machine: serving over IPv4 alone" off.log || fail "$(cat off.log)"
