"""What was measured, as Markdown."""
import datetime
import os
import platform
import statistics
import subprocess

import rows
from servers import ROOT

SPENT = "server_cpu_us_per_registration"


def version(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    return (done.stdout or done.stderr).splitlines()[0]


def head(binary, args):
    lines = open("/proc/cpuinfo").read().splitlines()
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return (
        f"{datetime.date.today()}: {os.cpu_count()} cores ({model}), load average {os.getloadavg()[0]:.1f}, Linux {platform.release()};"
        f" {version('kamailio', '-v').strip()}; {version(binary, '--version')} ({version('git', '-C', ROOT, 'describe', '--always', '--dirty')},"
        f" {version('rustc', '--version')}); {args.users} users, refreshes, window {args.window},"
        f" {args.passes} passes of {args.seconds} s."
    )


def spread(numbers, form):
    return f"{statistics.median(numbers):{form}} ({min(numbers):{form}}..{max(numbers):{form}})"


def median(passes, key):
    return statistics.median(one[key] for one in passes)


def costs(shown, results):
    """CPU of each server per registration; an echo's per datagram and answer."""
    lines = ["| server | CPU per registration, µs: median (least..most) | a second | octets per user | p50 / p99 ms |",
             "|---|---:|---:|---:|---:|"]
    for row in shown:
        passes = results[row.name]
        octets = "" if row.echo else f"{passes[0]['octets_per_user']:.0f}"
        times = "" if row.echo else f"{median(passes, 'p50_ms'):.2f} / {median(passes, 'p99_ms'):.2f}"
        lines.append(f"| {row.name} | {spread([one[SPENT] for one in passes], '.1f')}"
                     f" | {median(passes, 'registrations_per_second'):.0f} | {octets} | {times} |")
    lines += [f"\n{row.name}: its {row.behind} has {median(results[row.name], 'behind_us'):.1f} µs of its own a registration."
              for row in shown if row.behind]
    return lines


def ratios(results):
    """One server's CPU by another's, both of the same pass."""
    lines = ["| CPU of | by that of | ratio: median (least..most) | goal |", "|---|---|---:|---:|"]
    for mine, theirs, times, goal in rows.RATIOS:
        if mine in results and theirs in results:
            both = [one[SPENT] / (times * other[SPENT]) for one, other in zip(results[mine], results[theirs])]
            other = theirs if times == 1 else f"{times} × {theirs}"
            lines.append(f"| {mine} | {other} | {spread(both, '.2f')} | {goal or ''} |")
    if rows.DURABLE in results and rows.AKA in results:
        both = zip(results[rows.DURABLE], results[rows.AKA])
        lines += ["", f"On disk costs {spread([one[SPENT] - other[SPENT] for one, other in both], '.1f')} µs a registration more."]
    return lines


def latencies(measured):
    """Open loop: each registration timed from when it was due."""
    lines = ["| open loop | of what it took | a second | p50 ms | p99 ms: median (least..most) | errors |",
             "|---|---:|---:|---:|---:|---:|"]
    for (name, share, of), passes in measured.items():
        errors = sum(one["errors"] for one in passes)
        lines.append(f"| {name} | {100 * share:.0f} %{'' if of == name else f' of {of}'} | {median(passes, 'rate'):.0f} | {median(passes, 'p50_ms'):.2f}"
                     f" | {spread([one['p99_ms'] for one in passes], '.2f')} | {errors} |")
    return lines
