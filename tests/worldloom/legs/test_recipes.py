"""What the stages say, against the paper's table."""

from __future__ import annotations

import subprocess
import sys

from worldloom.legs.recipes import DISTILLATION_RECIPES, FLOW_RECIPES


def test_actions_are_learnt_without_memory_or_residuals_and_sometimes_without_a_past() -> None:
    actions = FLOW_RECIPES["actions"].objective
    assert actions.no_memory_probability == 1.0
    assert actions.no_past_probability == 0.2
    assert actions.self_correction.source == "none"


def test_memory_is_learnt_with_residuals_on_past_and_memory() -> None:
    memory = FLOW_RECIPES["memory"].objective
    assert memory.no_memory_probability < 0.5
    assert memory.self_correction.source == "buffer"
    assert memory.error_buffer.probability > 0
    assert memory.error_buffer.memory_probability > 0


def test_distillation_starts_on_one_segment_and_goes_on_with_up_to_six() -> None:
    cold, multi = (DISTILLATION_RECIPES[name] for name in ("cold_start", "multi_segment"))
    assert (cold.min_segments, cold.max_segments) == (1, 1)
    assert (multi.min_segments, multi.max_segments) == (1, 6)
    assert cold.critic_updates_per_student_update == 5
    assert multi.critic_updates_per_student_update == 3
    assert multi.hide_context_probability == 0.2
    assert (cold.num_steps, multi.num_steps) == (600, 2400)


def test_recipes_import_no_torch() -> None:
    code = "import sys, worldloom.legs.recipes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
