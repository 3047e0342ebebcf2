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
# From here on our variables begin with MOSU_: a task's own may be called anything else, and go on to it.
read -r MOSU_PORT MOSU_HEALTH < "$here/job/service" || MOSU_PORT=""
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
  MOSU_TASK=$!
}
# The first process of a pod is told to stop and nobody else is; it passes that on to all, and waits.
trap 'MOSU_STOPPING=1; kill -TERM -1' TERM
ended() { # waits for the task: its code is $MOSU_CODE
  while :; do
    wait $MOSU_TASK 2> /dev/null
    MOSU_CODE=$?
    kill -0 $MOSU_TASK 2> /dev/null || return
  done
}
if [ -z "$MOSU_PORT" ]; then
  begin
  ended
  exit $MOSU_CODE
fi
# A service is kept up: as mosu/sandbox/reaper.py does it where there is a sandbox of ours.
answers() { # whether a GET of $MOSU_HEALTH is answered below 400
  timeout 3 /bin/bash -c '
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exec 3<>"/dev/tcp/::1/$1" || exit 1
    printf "GET %s HTTP/1.1\r\nHost: localhost:%s\r\nConnection: close\r\n\r\n" "$2" "$1" >&3
    read -r -n 200 _ status _ <&3
    timeout 0.2 head -c 65536 <&3 > /dev/null # some servers complain of who leaves before the end
    [[ $status =~ ^[123][0-9][0-9]$ ]]' mosu "$MOSU_PORT" "$MOSU_HEALTH" 2> /dev/null
}
is_watched() { # whether it is still to be asked: it runs, and is not deaf
  [ -n "$MOSU_HEALTH" ] && [ -z "$MOSU_STOPPING" ] && [ $MOSU_MISSED -lt 3 ] && kill -0 $MOSU_TASK 2> /dev/null
}
# How it fares is left on the volume at each turn, since a pod may be killed at any moment: how often it was started
# again, for how many seconds it was well before, and since when it is (0: it is not).
MOSU_AGAIN=-1 MOSU_UP=0 MOSU_SINCE=0 MOSU_ASKED=${#MOSU_HEALTH}
note() { # that it is begun, well, or ended
  local now
  printf -v now '%(%s)T' -1
  case $1 in
    begun) MOSU_AGAIN=$((MOSU_AGAIN + 1)) MOSU_SINCE=$((MOSU_ASKED ? 0 : now)) ;;
    well) MOSU_SINCE=$now ;;
    ended) MOSU_UP=$((MOSU_UP + (MOSU_SINCE ? now - MOSU_SINCE : 0))) MOSU_SINCE=0 ;;
  esac
  echo "$MOSU_AGAIN $MOSU_UP $MOSU_SINCE" > /run/mosu/ranks/.upkeep &&
    mv /run/mosu/ranks/.upkeep /run/mosu/ranks/upkeep
} 2> /dev/null
MOSU_PAUSES=(0.2 0.4 0.8 1.6 3.2 6.4 10) MOSU_FAST=0
while [ -z "$MOSU_STOPPING" ]; do
  MOSU_BEGAN=$SECONDS MOSU_WELL="" MOSU_MISSED=0
  begin
  note begun
  while is_watched; do
    if answers; then
      [ -n "$MOSU_WELL" ] || note well
      MOSU_WELL=1 MOSU_MISSED=0
    elif [ -n "$MOSU_WELL" ]; then # only what was well falls ill
      MOSU_MISSED=$((MOSU_MISSED + 1))
    fi
    sleep 1 &
    wait $!
  done
  if [ $MOSU_MISSED -ge 3 ]; then
    echo "mosu: no answer at $MOSU_HEALTH, 3 times; it is started again"
    kill -KILL -1
  fi
  ended
  kill -KILL -1 2> /dev/null
  wait
  note ended
  [ -z "$MOSU_STOPPING" ] || break
  echo "mosu: the service ended with exit code $MOSU_CODE"
  [ $((SECONDS - MOSU_BEGAN)) -le 30 ] || MOSU_FAST=0 # what ends at once is started less and less often
  sleep ${MOSU_PAUSES[MOSU_FAST]} &
  wait $!
  MOSU_FAST=$((MOSU_FAST < 6 ? MOSU_FAST + 1 : 6))
done
exit $MOSU_CODE
