#!/bin/bash
# Runs a command on the CPU time that nothing else wants: setup/idle.sh COMMAND [ARGUMENT...]
#
# Linux shares the cores among sessions first (sched_autogroup_enabled), and a process's niceness counts only within its session: a
# command at nice 19 still takes half a core from a lab's daemon, because each daemon has a session of its own. So this command gets
# a session too, with the smallest share there is. Its exit code is the command's.
set -u
setsid bash -c '{ echo 19 > /proc/self/autogroup; } 2> /dev/null; exec nice -n 19 "$@"' idle "$@" &
pid=$!
# A session of its own hears no Ctrl-C of this one.
trap 'kill -TERM -- "-$pid"' INT TERM
wait "$pid"
code=$?
wait "$pid" 2> /dev/null
exit "$code"
