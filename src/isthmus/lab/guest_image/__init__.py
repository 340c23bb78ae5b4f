"""The lab's guest: a disk image of 96 MiB that boots in seconds under plain emulation and proves what it has written.

Made from Debian packages: a kernel for clouds, busybox, QEMU's guest agent. Inside, every file system gets numbered, chained,
checksummed records, each on the disk before the next, so that a restored volume can be judged record by record
(`records`, `volumes`). Three guests can play a protocol with each other (client, middle, database) whose logs tell whether
their volumes were taken at one point in time. `building` makes the image, `agent` talks to a guest that runs.
"""
