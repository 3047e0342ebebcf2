# What a pod of an attempt runs first: it claims its rank, learns the others' addresses, then runs the task.
# Laid beside the task's own scripts; needs bash and coreutils of the image.
here=/run/mosu
rank=${JOB_COMPLETION_INDEX:-0}
# A link is made or not, in one step, on every file system that a cluster shares: the first pod of a rank has it.
if ! ln -s "$POD_NAME" "$here/ranks/claim-$rank" 2>/dev/null; then
  echo "mosu: another pod has this rank" >&2
  exit 213
fi
echo "$POD_IP" > "$here/ranks/.address-$rank" && mv "$here/ranks/.address-$rank" "$here/ranks/address-$rank"
addresses=""
for ((other = 0; other < SKYPILOT_NUM_NODES; other++)); do
  until [ -e "$here/ranks/address-$other" ]; do sleep 0.2; done
  addresses+="${addresses:+$'\n'}$(cat "$here/ranks/address-$other")"
done
export SKYPILOT_NODE_RANK=$rank SKYPILOT_NODE_IPS=$addresses
for secret in "$here"/secrets-given/*; do
  [ -f "$secret" ] && (umask 077 && cat "$secret" > "$MOSU_SECRETS/${secret##*/}")
done
read -r port health < "$here/job/service" || port=""
unset POD_NAME POD_IP secret here other addresses
cd /work || exit
begin() {
  /bin/bash -c '
    if [ -s /run/mosu/job/setup.sh ]; then
      /bin/bash /run/mosu/job/setup.sh
      code=$?
      [ $code -eq 0 ] || { echo "mosu: setup ended with exit code $code"; exit $code; }
    fi
    exec /bin/bash /run/mosu/job/job.sh' &
  task=$!
}
# The first process of a pod is told to stop and nobody else is; it passes that on to all, and waits.
trap 'stopping=1; kill -TERM -1' TERM
ended() { # waits for the task: its code is $code
  while :; do
    wait $task 2> /dev/null
    code=$?
    kill -0 $task 2>/dev/null || return
  done
}
if [ -z "$port" ]; then
  begin
  ended
  exit $code
fi
# A service is kept up: as mosu/sandbox/reaper.py does it where there is a sandbox of ours.
answers() { # whether a GET of $health is answered below 400
  timeout 3 /bin/bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exec 3<>"/dev/tcp/::1/$1" || exit 1
    printf "GET %s HTTP/1.1\r\nHost: localhost:%s\r\nConnection: close\r\n\r\n" "$2" "$1" >&3
    read -r -n 200 _ status _ <&3
    timeout 0.2 head -c 65536 <&3 > /dev/null # some servers complain of who leaves before the end
    [[ $status =~ ^[123][0-9][0-9]$ ]]' mosu "$port" "$health" 2>/dev/null
}
pauses=(0.2 0.4 0.8 1.6 3.2 6.4 10) fast=0
while [ -z "$stopping" ]; do
  began=$SECONDS well="" missed=0
  begin
  while [ -n "$health" ] && [ -z "$stopping" ] && kill -0 $task 2>/dev/null && [ $missed -lt 3 ]; do
    if answers; then well=1 missed=0; else [ -n "$well" ] && missed=$((missed + 1)); fi
    sleep 1 &
    wait $!
  done
  if [ $missed -ge 3 ]; then
    echo "mosu: no answer at $health, 3 times; it is started again"
    kill -KILL -1
  fi
  ended
  kill -KILL -1 2>/dev/null
  wait
  [ -z "$stopping" ] || break
  echo "mosu: the service ended with exit code $code"
  [ $((SECONDS - began)) -le 30 ] || fast=0 # what ends at once is started less and less often
  sleep ${pauses[fast]} &
  wait $!
  fast=$((fast < 6 ? fast + 1 : 6))
done
exit $code
