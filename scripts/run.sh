#!/usr/bin/env bash
# Runs one coordinator, two workers and the sample application on loopback, with the files of conf/. Follows what they log
# until Ctrl-C or SIGTERM, or until one of them ends; then stops those that it started, by process id.
# They must be built: `make run` does that first. `run.sh release` runs those of that profile.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

case ${1:-dev} in
    dev) bin=$TARGET/debug ;;
    *) bin=$TARGET/$1 ;;
esac

public=http://127.0.0.1:8080
sample_page=$public/apps/sample/
# The addresses in conf/ and below. The second worker has the first one's ports plus 2.
ports=(8080 8081 7080 7081 7082 7083 8890)

names=()     # who was started, in that order
pids=()      # their process ids
followers=() # who shows their logs
reason=      # why it ends, if not because it was asked to

# Whether something listens on a port of loopback.
taken() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# The second worker's configuration is the first one's with another name and other addresses.
write_second_worker() {
    sed -e 's/^\( *id: \)w1\b/\1w2/' \
        -e 's/127\.0\.0\.1:7080/127.0.0.1:7082/' \
        -e 's/127\.0\.0\.1:7081/127.0.0.1:7083/' \
        -e 's/^\(pid_file: run\/worker\)/\1-2/' \
        -e 's/^\(upgrade_sock: run\/worker\)/\1-2/' \
        conf/worker.yaml >run/worker-2.yaml
}

# start NAME COMMAND...: in the background, with all that it says in run/NAME.log and, with its name before it, here.
start() {
    local name=$1 log=run/$1.log
    shift
    if [[ -e $log ]]; then
        mv "$log" "$log.old"
    fi
    : >"$log"
    # A session of its own, so that Ctrl-C reaches this script alone; and ended with this script, however that ends.
    setsid setpriv --pdeathsig TERM "$@" >>"$log" 2>&1 </dev/null &
    local pid=$!
    names+=("$name")
    pids+=("$pid")
    # Reads on until the process has ended and its last line is shown.
    tail --lines=+1 --follow --sleep-interval=0.2 --pid="$pid" "$log" 2>/dev/null |
        sed --unbuffered "s/^/$(printf '%-11s' "$name") | /" &
    followers+=("$!")
}

alive() {
    kill -0 "$1" 2>/dev/null
}

# Waits until none of the processes lives; fails when one still does after so many tenths of a second.
gone_within() {
    local tenths=$1 pid
    shift
    for pid in "$@"; do
        while alive "$pid"; do
            ((tenths-- > 0)) || return 1
            sleep 0.1
        done
    done
}

stop() {
    # A second Ctrl-C does not wait.
    trap kill_all INT TERM
    local daemons=("${pids[@]:1}") sample=("${pids[@]:0:1}")
    # The daemons first: they finish what is in flight, for which they need the application. What is open longer (an event
    # stream in a browser) ends with the application.
    signal TERM "${daemons[@]}"
    gone_within 20 "${daemons[@]}" || true
    signal TERM "${sample[@]}"
    gone_within 80 "${daemons[@]}" "${sample[@]}" || kill_all
    wait "${followers[@]}" 2>/dev/null || true
}

kill_all() {
    signal KILL "${pids[@]}"
}

signal() {
    local name=$1 pid
    shift
    for pid in "$@"; do
        ! alive "$pid" || kill -s "$name" "$pid" 2>/dev/null || true
    done
}

finish() {
    local status=$?
    trap - EXIT
    if ((${#pids[@]} > 0)); then
        say "stopping${reason:+: $reason}"
        stop
    fi
    # Once more, where it can be seen.
    [[ -z $reason ]] || die "$reason"
    exit "$status"
}

give_up() {
    reason=$1
    exit 1
}

# Ends the script when one of those that were started has ended.
check_all_alive() {
    local i
    for i in "${!pids[@]}"; do
        alive "${pids[i]}" || ended "$i"
    done
}

ended() {
    local status=0
    wait "${pids[$1]}" || status=$?
    # Its last lines come before this one.
    wait "${followers[$1]}" 2>/dev/null || true
    give_up "${names[$1]} has ended by itself (exit code $status); run/${names[$1]}.log has what it said"
}

# Whether a GET of the address answers 200.
answers() {
    [[ $(curl --silent --noproxy '*' --max-time 2 --output /dev/null --write-out '%{http_code}' "$1") == 200 ]]
}

# Waits until a GET of the address answers 200.
wait_for() {
    local tenths=600
    until answers "$1"; do
        check_all_alive
        ((tenths-- > 0)) || give_up "$1 does not answer 200 after a minute; the logs above and in run/ say why"
        sleep 0.1
    done
}

for port in "${ports[@]}"; do
    ! taken "$port" ||
        die "port $port of 127.0.0.1 is taken, and this needs it: is it running already? (ss -ltnp shows by whom)"
done

mkdir -p -m 700 run
write_second_worker

trap finish EXIT
trap 'exit 0' INT TERM HUP

start sample "$bin/app-proxy-sample" --listen 127.0.0.1:8890
start coordinator "$bin/app-proxy-coordinator" -c conf/coordinator.yaml
wait_for "$public/.app-proxy/healthz"
start worker-1 "$bin/app-proxy-worker" -c conf/worker.yaml
start worker-2 "$bin/app-proxy-worker" -c run/worker-2.yaml
for admin in 7081 7083 8081; do
    wait_for "http://127.0.0.1:$admin/readyz"
done
wait_for "$sample_page"

cat <<EOF

App-Proxy runs: one coordinator, two workers, one application.

  Open it      $sample_page
  Try it       curl -i -H 'X-Backend-Request-ID: my-first-request' ${sample_page}hello
  Find it      grep my-first-request run/*.log
  Stop it      Ctrl-C

Without a request ID of your own the answer has a new one, in its header X-Backend-Request-ID.
What each of them logs follows here, and is in run/*.log.

EOF

while true; do
    # Returns when one of them ends. A signal goes to its trap.
    wait -n "${pids[@]}" || true
    check_all_alive
done
