"""Ablations: arms as data, run on given weights over unseen worlds, written into a book.

It knows how a claim is put to the test and how the answer is told. It trains nothing but the
measuring instruments, and does not know pipelines, registries or the command line.
"""
