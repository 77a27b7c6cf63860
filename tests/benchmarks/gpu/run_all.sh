#!/usr/bin/env bash
# Check and measure everything on a GPU, without network: run_all.sh OUT, or run_all.sh --dry-run OUT.
#
# OUT gets a log of each step, models.json and report.md. With --dry-run all of it runs on the CPU, on
# tiny models: this shows that the steps work, and measures nothing. The exit code is 1 if any step
# failed; the other steps still run.
set -u
device=cuda op_options=(--samples 50) model_options=(--samples 20)
if [ "${1:-}" = --dry-run ]; then
    device=cpu op_options=(--quick --samples 1) model_options=(--small --samples 1)
    shift
fi
out=${1:?usage: run_all.sh [--dry-run] OUT}
here=$(cd "$(dirname "$0")" && pwd)
# The installed package goes first: a bare machine cannot build the kernels in the source.
python -c 'import baselines' 2>/dev/null ||
    export PYTHONPATH="$here/../../..${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$out"
report=$out/report.md
failed=0

# Run a step: its name, then the command. The report shows all it printed.
step() {
    local name=$1
    shift
    if "$@" >"$out/$name.log" 2>&1; then
        echo "$name: ok"
    else
        echo "$name: FAILED, see $out/$name.log"
        failed=1
    fi
    printf '\n## %s\n\n```\n' "$name" >>"$report"
    cat "$out/$name.log" >>"$report"
    printf '```\n' >>"$report"
}

{
    printf '# Run of %s on %s\n\n' "$(date -u +%F)" "$device"
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null || uname -p
} >"$report"
step paths python -m baselines.ops
# Each path by itself; a path that does not serve this card is a failure that the report explains.
if [ "$device" = cuda ]; then
    for path in ptx nvrtc; do
        step "op-$path" env ENTITYSEG_OPS=$path python "$here/bench_op.py" --quick --samples 1
    done
fi
if [ "$device" = cuda ] && command -v compute-sanitizer >/dev/null; then
    step sanitizer compute-sanitizer --error-exitcode 1 \
        python "$here/bench_op.py" --quick --samples 1
fi
step op python "$here/bench_op.py" --device "$device" "${op_options[@]}"
step models python "$here/bench_models.py" --device "$device" "${model_options[@]}" \
    --json "$out/models.json"
exit $failed
