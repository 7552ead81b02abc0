"""Copies to the host: on a CPU there is nothing to copy and nothing to wait for."""

import torch

from worldloom.rollout.host_copy import HostCopy, beside


def test_on_a_cpu_the_copy_is_the_tensor_and_there_at_once():
    source = torch.arange(3)
    copy = HostCopy(source)
    assert copy.is_there
    assert copy.wait() is source


def test_without_a_stream_work_beside_is_done_at_once():
    done = []
    with beside(None, torch.zeros(1)):
        done.append(1)
    assert done
