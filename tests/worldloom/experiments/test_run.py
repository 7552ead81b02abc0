"""An experiment from weights to cells: paired, resumable, and refused in a sentence."""

from __future__ import annotations

import av
import numpy as np
import pytest
import torch
from small_weights import write_starter

from worldloom.errors import ConfigError
from worldloom.experiments.arms import Arm, Experiment, WalkPlan
from worldloom.experiments.cells import part_digests, read_arrays
from worldloom.experiments.figure_list import FIGURES
from worldloom.experiments.figures import MeasureConfig
from worldloom.experiments.networks import WeightFolders
from worldloom.experiments.packing import pack_cells, unpack_cells
from worldloom.experiments.publish import publish
from worldloom.experiments.run import run_experiment
from worldloom.experiments.run_record import read_run, write_run
from worldloom.experiments.setting import RunConfig, Setting

EXPERIMENT = Experiment(
    name="memory",
    question="Does memory show?",
    control="none",
    arms=(
        Arm(name="ours", title="greedy cover"),
        Arm(name="none", title="recent past alone", memory="none"),
        Arm(name="other", title="never given", weights="own"),
    ),
    walks=(WalkPlan(path="palindrome", num_segments=4, num_cases=2),),
    figures=("revisit_psnr_db", "psnr_db"),
)
CONFIG = RunConfig(
    reader=None, timed_segments=1, measure=MeasureConfig(pose_stride_frames=0), batch_size=2
)


CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("experiment")
    starter = write_starter(folder / "starter")
    return Setting(
        EXPERIMENT, CONFIG, WeightFolders([starter], {}), folder / "memory", torch.device("cpu"),
        "worldloom experiment run memory",
    )  # fmt: skip


@pytest.fixture(scope="module")
def cells(setting):
    return run_experiment(setting)


def test_arms_walk_the_same_worlds_with_the_same_noise(cells):
    assert [cell.arm for cell in cells] == ["none", "ours"]
    first, second = ([(walk.clip_id, walk.noise_seed) for walk in cell.walks] for cell in cells)
    assert first == second
    assert len(set(first)) == 2


def test_every_figure_is_there_or_is_none(cells):
    for cell in cells:
        for walk in cell.walks:
            assert set(walk.values) == set(FIGURES)
            assert walk.values["revisit_psnr_db"] is not None
            assert walk.values["key_accuracy"] is None  # nobody was taught to read
            assert len(walk.segment_psnr_db) == 4


def test_the_control_is_in_parity_with_itself_alone(cells):
    control, ours = cells
    assert all(walk.values["parity_psnr_db"] == 60.0 for walk in control.walks)
    # The first segment has no memory yet, so it is the same.
    assert all(walk.values["parity_psnr_db"] == 60.0 for walk in ours.walks)
    assert control.walks[0].values["psnr_db"] != ours.walks[0].values["psnr_db"]


@pytest.mark.slow
def test_a_finished_cell_is_not_computed_again(setting, cells):
    told = []
    again = Setting(
        setting.experiment, setting.config, setting.folders, setting.folder, setting.device,
        setting.command, tell=told.append,
    )  # fmt: skip
    next(iter(setting.folder.glob("*-ours-0.json"))).unlink()
    assert run_experiment(again) == cells_without_times(again, cells)
    assert told == ["procedural-palindrome-ours-0: 2 walks"]


def cells_without_times(setting, cells):
    """The cells with the times of the new run, which differ."""
    found = run_experiment(setting)
    return [
        cell.model_copy(
            update={
                "one_walk": other.one_walk,
                "denoise_seconds": other.denoise_seconds,
                "control": other.control,
            }
        )
        for cell, other in zip(cells, found, strict=True)
    ]


@pytest.mark.slow
def test_another_arm_is_timed_in_turns_with_the_control(cells):
    control, ours = cells
    assert control.control is None
    assert ours.control.segment.num_samples == ours.one_walk.num_samples
    assert ours.control.denoise_seconds < ours.control.segment.p50_seconds


@pytest.mark.slow
def test_cameras_are_found_where_a_plan_says_so(setting):
    config = CONFIG.model_copy(
        update={"num_cases": 1, "measure": MeasureConfig(pose_stride_frames=24)}
    )

    def located(*, locates):
        plan = EXPERIMENT.walks[0].model_copy(update={"locates": locates})
        asked = EXPERIMENT.model_copy(update={"walks": (plan,)})
        folder = setting.folder.parent / f"located-{locates}"
        cell = run_experiment(Setting(asked, config, setting.folders, folder, setting.device, ""))[
            0
        ]
        return cell.walks[0].values["recording_yaw_error_degrees"]

    assert located(locates=True) is not None
    assert located(locates=False) is None


@pytest.mark.slow
def test_another_seed_is_another_cell(setting, cells):
    config = CONFIG.model_copy(update={"seed": 1})
    other = Setting(EXPERIMENT, config, setting.folders, setting.folder.parent / "other",
                    setting.device, "")  # fmt: skip
    found = run_experiment(other)
    assert {cell.key for cell in found}.isdisjoint({cell.key for cell in cells})
    assert found[0].walks[0].world != cells[0].walks[0].world


@pytest.mark.slow
def test_a_book_a_page_a_plot_and_a_film_are_written(setting, cells, tmp_path):
    book, paths = publish(setting.folder, tmp_path)
    [starter] = setting.folders.starters
    assert book.starters == (part_digests(starter),)
    assert all(path.stat().st_size for path in paths)
    with av.open(str(next(path for path in paths if path.suffix == ".mp4"))) as film:
        assert film.streams.video[0].width == 3 * 192 + 2 * 6  # two arms beside the recording
    assert {path.name for path in paths} == {
        "ablation.json", "ablation.md", "ablation.png", "ablation-procedural-palindrome.mp4",
        "ablation-procedural-palindrome.jpg",
    }  # fmt: skip
    assert book.left_out == ("other",)
    page = (tmp_path / "ablation.md").read_text()
    assert "`worldloom experiment run memory`" in page
    assert "Not run, for want of weights: other." in page
    assert "(ablation-procedural-palindrome.jpg)" in page
    assert "| revisit_psnr_db | dB | " in page
    [row] = [r for r in book.rows if r.figure == "revisit_psnr_db" and r.arm == "ours"]
    values = [
        [walk.values["revisit_psnr_db"] for walk in cell.walks] for cell in (cells[1], cells[0])
    ]
    expected = sum(values[0]) / 2 - sum(values[1]) / 2
    assert row.difference.mean == pytest.approx(expected)
    assert row.difference.low <= expected <= row.difference.high


@pytest.mark.slow
def test_packed_cells_give_the_same_book_elsewhere(setting, cells, tmp_path):
    del cells
    volumes = pack_cells(setting.folder, tmp_path / "packed")
    assert [volume.name for volume in volumes] == ["memory-0.tar"]
    unpack_cells(volumes, tmp_path / "home")
    there, here = (
        publish(folder, tmp_path / name)[0]
        for folder, name in ((tmp_path / "home" / "memory", "a"), (setting.folder, "b"))
    )
    assert there == here


@pytest.mark.slow
def test_arms_are_shown_in_their_order_however_cells_were_joined(setting, cells, tmp_path):
    del cells
    unpack_cells(pack_cells(setting.folder, tmp_path / "packed"), tmp_path / "joined")
    joined = tmp_path / "joined" / setting.folder.name
    record = read_run(joined)
    backwards = dict(reversed(record.cells.items()))
    write_run(joined, record.model_copy(update={"cells": backwards}))
    one, other = (
        publish(folder, tmp_path / name) for folder, name in ((setting.folder, "a"), (joined, "b"))
    )
    assert [p.read_bytes() for p in one[1]] == [p.read_bytes() for p in other[1]]


@pytest.mark.slow
def test_what_was_packed_goes_on_elsewhere_without_parity(setting, cells, tmp_path):
    unpack_cells(pack_cells(setting.folder, tmp_path / "packed"), tmp_path / "there")
    there = tmp_path / "there" / setting.folder.name
    next(iter(there.glob("*-ours-0.json"))).unlink()
    again = Setting(
        setting.experiment, setting.config, setting.folders, there, setting.device, setting.command
    )
    control, ours = run_experiment(again)
    assert control == cells[0]
    for found, expected in zip(ours.walks, cells[1].walks, strict=True):
        assert found.values == expected.values | {"parity_psnr_db": None}


def test_features_of_novel_patches_are_kept_walk_by_walk(setting, cells):
    arrays = read_arrays(setting.folder, "procedural-palindrome-none-0")
    assert len(arrays.features) == len(arrays.real_features) == 2
    for made, real in zip(arrays.features, arrays.real_features, strict=True):
        assert made.shape == real.shape


def test_an_experiment_without_any_weights_is_refused(setting):
    empty = Setting(EXPERIMENT, CONFIG, WeightFolders([], {}), setting.folder, CPU, "")
    with pytest.raises(ConfigError, match="no weights for any of ours, none, other"):
        run_experiment(empty)


@pytest.mark.slow
def test_one_arm_alone_is_walked_where_it_is_asked_for(setting, cells, tmp_path):
    config = CONFIG.model_copy(update={"arms": ("ours",)})
    alone = Setting(EXPERIMENT, config, setting.folders, tmp_path, CPU, "")
    [ours] = run_experiment(alone)
    assert (ours.arm, ours.key) == ("ours", cells[1].key)
    for found, expected in zip(ours.walks, cells[1].walks, strict=True):
        assert found.values == expected.values | {"parity_psnr_db": None}


@pytest.mark.slow
def test_cut_decoders_are_taught_for_the_steps_that_are_asked_for(setting, tmp_path):
    cut = Arm(name="cut", title="half", decoder_removed=0.5, decoder_steps=3)
    experiment = EXPERIMENT.model_copy(
        update={"arms": (*EXPERIMENT.arms, cut), "walks": EXPERIMENT.walks}
    )
    keys = set()
    for steps in (1, 2):
        config = CONFIG.model_copy(update={"arms": ("cut",), "decoder_steps": steps})
        asked = Setting(experiment, config, setting.folders, tmp_path / str(steps), CPU, "")
        [cell] = run_experiment(asked)
        keys.add((cell.key, cell.walks[0].values["psnr_db"]))
    assert len(keys) == 2


def test_a_way_that_is_not_planned_is_refused(setting):
    config = CONFIG.model_copy(update={"paths": ("loop",)})
    wrong = Setting(EXPERIMENT, config, setting.folders, setting.folder, CPU, "")
    with pytest.raises(ConfigError, match="memory has palindrome"):
        run_experiment(wrong)


@pytest.mark.slow
def test_a_way_back_is_walked_behind_a_way_out_that_was_given(setting, tmp_path):
    way = WalkPlan(path="return", num_segments=4, given_segments=2, num_cases=2)
    experiment = EXPERIMENT.model_copy(update={"walks": (way,)})
    backs = Setting(experiment, CONFIG, setting.folders, tmp_path, CPU, "")
    control, ours = run_experiment(backs)
    for cell in (control, ours):
        assert [len(walk.segment_psnr_db) for walk in cell.walks] == [2, 2]
    # What is given is the same for both; what is made hangs on memory from the first segment on.
    films = [read_arrays(tmp_path, f"procedural-return-{arm}-0").film for arm in ("none", "ours")]
    assert np.array_equal(films[0][:25], films[1][:25])
    assert not np.array_equal(films[0][25:], films[1][25:])
    assert all(walk.values["parity_psnr_db"] == 60.0 for walk in control.walks)
    assert all(walk.values["parity_psnr_db"] < 60.0 for walk in ours.walks)
