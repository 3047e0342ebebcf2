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
unset POD_NAME POD_IP secret here other addresses
cd /work || exit
/bin/bash -c '
  if [ -s /run/mosu/job/setup.sh ]; then
    /bin/bash /run/mosu/job/setup.sh
    code=$?
    [ $code -eq 0 ] || { echo "mosu: setup ended with exit code $code"; exit $code; }
  fi
  exec /bin/bash /run/mosu/job/job.sh' &
task=$!
# The first process of a pod is told to stop and nobody else is; it passes that on to all, and waits.
trap 'kill -TERM -1' TERM
while :; do
  wait $task
  code=$?
  kill -0 $task 2>/dev/null || exit $code
done
