#!/bin/bash
# A real S3 server for tests: one Ceph RGW with a monitor and an OSD that keeps
# everything in memory, on loopback. Needs no root, no systemd, no container.
#
#   scripts/rgw.sh up DIRECTORY [PORT] [OWNER_PID]   start; prints "ready http://127.0.0.1:PORT"
#   scripts/rgw.sh down DIRECTORY                    end it and remove the directory
#
# DIRECTORY must not exist; PORT (default 17480) and the two after it must be free.
# With OWNER_PID everything ends by itself when that process is gone.
# Key lbc-test-key, secret lbc-test-secret, region us-east-1, path-style addresses.
#
# Debian and Ubuntu: apt-get install -y --no-install-recommends radosgw ceph-mon ceph-osd
set -euo pipefail

readonly NEEDED=(ceph ceph-mon ceph-osd monmaptool radosgw radosgw-admin curl setsid)
readonly READY_ATTEMPTS_MAX=600
readonly OWNER_CHECK_SECONDS=1

fail() {
  echo "rgw.sh: $*" >&2
  exit 1
}

write_config() {
  cat >"$1/ceph.conf" <<CONF
[global]
fsid = $(cat /proc/sys/kernel/random/uuid)
mon_host = [v2:127.0.0.1:$3/0,v1:127.0.0.1:$4/0]
mon_initial_members = a
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
run_dir = $1/run
admin_socket = $1/run/\$name.asok
pid_file = $1/run/\$name.pid
log_file = $1/log/\$name.log
crash_dir = $1/log
# One copy of everything, and no waiting for a quorum that is one monitor.
paxos_propose_interval = 0.02
paxos_min_wait = 0.01
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
# A nearly full disk of the developer is no reason to refuse.
mon_data_avail_warn = 1
mon_data_avail_crit = 1

[mon.a]
host = localhost
mon_data = $1/mon

[osd]
osd_data = $1/osd
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_memory_target = 939524096
osd_class_load_list = *
osd_class_default_list = *

[client]
ms_mon_client_mode = crc
rgw_run_sync_thread = false
rgw_enable_lc_threads = false
rgw_dynamic_resharding = false
rgw_frontends = beast endpoint=127.0.0.1:$2 tcp_nodelay=1
CONF
}

up() {
  local directory port owner osd_uuid osd_id attempts=0
  directory=$(realpath -m "${1:?which directory?}")
  port=${2:-17480}
  owner=${3:-}
  for program in "${NEEDED[@]}"; do
    command -v "$program" >/dev/null || fail "$program is not installed"
  done
  [ ! -e "$directory" ] || fail "$directory exists already"
  mkdir -p "$directory"/{mon,osd,run,log}
  write_config "$directory" "$port" $((port + 1)) $((port + 2))
  # Whatever fails from here on leaves no process and no directory behind.
  trap 'down "$directory"' ERR
  if [ -n "$owner" ]; then
    # In a session of its own: what ends the owner's whole process group must not end the watch.
    setsid "$0" watch "$directory" "$owner" </dev/null >/dev/null 2>&1 &
  fi

  local -a config=(-c "$directory/ceph.conf")
  monmaptool --create --fsid "$(awk '/^fsid/ { print $3 }' "$directory/ceph.conf")" \
    --addv a "[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]" "$directory/monmap" >/dev/null
  ceph-mon "${config[@]}" -i a --mkfs --monmap "$directory/monmap"
  ceph-mon "${config[@]}" -i a

  osd_uuid=$(cat /proc/sys/kernel/random/uuid)
  osd_id=$(ceph "${config[@]}" osd new "$osd_uuid" 2>/dev/null)
  ceph-osd "${config[@]}" -i "$osd_id" --mkfs --osd-uuid "$osd_uuid" >/dev/null 2>&1
  ceph-osd "${config[@]}" -i "$osd_id" >/dev/null 2>&1

  radosgw "${config[@]}" -n client.rgw
  radosgw-admin "${config[@]}" user create --uid test --display-name test \
    --access-key lbc-test-key --secret-key lbc-test-secret >/dev/null 2>&1
  until curl -sf -o /dev/null "http://127.0.0.1:$port/"; do
    attempts=$((attempts + 1))
    if [ "$attempts" -gt "$READY_ATTEMPTS_MAX" ]; then
      down "$directory"
      fail "the gateway does not answer"
    fi
    sleep 0.05
  done
  echo "ready http://127.0.0.1:$port"
}

watch_owner() {
  while [ -d "$1" ] && kill -0 "$2" 2>/dev/null; do sleep "$OWNER_CHECK_SECONDS"; done
  down "$1"
}

down() {
  local directory pid_file pid
  directory=$(realpath -m "${1:?which directory?}")
  # Only a directory that `up` has made: it is removed with everything in it.
  [ -f "$directory/ceph.conf" ] || return 0
  for pid_file in "$directory"/run/*.pid; do
    [ -f "$pid_file" ] || continue
    pid=$(cat "$pid_file")
    # The number may belong to another process by now.
    grep -qsF "$directory/ceph.conf" "/proc/$pid/cmdline" || continue
    # Nothing here is worth an orderly end, and a stopped process must end too.
    kill -KILL "$pid" 2>/dev/null || true
  done
  # A process that is just ending may still have created a file.
  rm -rf "$directory" 2>/dev/null || { sleep 0.2; rm -rf "$directory"; }
}

case ${1:-} in
  up) up "${@:2}" ;;
  watch) watch_owner "${@:2}" ;;
  down) down "${@:2}" ;;
  *) fail "usage: rgw.sh up DIRECTORY [PORT] [OWNER_PID] | rgw.sh down DIRECTORY" ;;
esac
