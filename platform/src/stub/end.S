# The end of the stub's code.

    .globl usk_stub_end
usk_stub_end:
    .text
