"""What a process and all that it starts ask of the kernel, seen and judged at the system call.

A seccomp filter hands the calls that could leave the machine (and, for a watched program, those
that write files) to a supervisor, which lets them go on or refuses and notes them. Native code,
threads, forks and programs are all seen; nothing but Linux and its Python is needed.
"""
