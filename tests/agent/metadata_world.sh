# Run "$@" in this network namespace, with a metadata service on the other side of a cable: what a host on EC2 sees.
set -e
mount -t tmpfs none /run
mkdir /run/netns
ip netns add meta
ip link add eth0 type veth peer name far netns meta
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
ip netns exec meta sh -c "echo 0 >/proc/sys/net/ipv6/conf/far/accept_dad"
ip addr add 10.0.0.2/24 dev eth0
ip addr add fd00::2/64 dev eth0 nodad
ip link set lo up
ip link set eth0 up
far="ip -n meta"
$far link set lo up
$far addr add 10.0.0.1/24 dev far
$far addr add fd00::1/64 dev far nodad
$far addr add 169.254.169.254/32 dev far
$far addr add fd00:ec2::254/128 dev far nodad
$far link set far up
ip route add default via 10.0.0.1
ip -6 route add default via fd00::1
mkfifo /run/ready
ip netns exec meta /usr/bin/env python3 -S "$(dirname "$0")/metadata_ways.py" serve >/run/ready &
server=$!
read -r _ </run/ready
status=0
"$@" || status=$?
kill "$server"
exit "$status"
