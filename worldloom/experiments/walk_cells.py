"""The cells of one kind of walk in one world: recorded once, walked by every arm, measured.

The control's cell comes first, since others are compared with its frames. It does not know how
cells are summarised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from worldloom.arrays import FloatArray
from worldloom.config import resolved
from worldloom.data.schema import Clip
from worldloom.evaluate.inverse_dynamics_training import InverseDynamicsTraining
from worldloom.evaluate.protocol import CasesConfig, WorldName, record_case
from worldloom.evaluate.suite import seed_of, session_poses
from worldloom.evaluate.video_quality import Frames, psnr_db
from worldloom.experiments.arms import Arm, WalkPlan
from worldloom.experiments.cells import (
    Cell,
    CellArrays,
    WalkRecord,
    cell_key,
    cell_name,
    folder_digest,
    read_cell,
    read_first_frames,
    write_cell,
    write_first_frames,
)
from worldloom.experiments.figures import (
    MEASURES_VERSION,
    Instruments,
    Truth,
    Values,
    measure_all,
    truth_of,
)
from worldloom.experiments.memory_plan import (
    ContextPlan,
    MemoryChoice,
    Retrieval,
    plan_context,
)
from worldloom.experiments.networks import BuiltArm, build_arm, frame_size_of
from worldloom.experiments.probes import Walks, probed
from worldloom.experiments.reconstruction import reconstruction_figures
from worldloom.experiments.setting import Setting
from worldloom.experiments.timing import Times, frames_to_time, timed_in_turns
from worldloom.experiments.walks import GivenPast, cut_short, films, recorded_latents, walk
from worldloom.frames import TEMPORAL_STRIDE
from worldloom.rollout.world_model import WorldModel
from worldloom.train.model_checkpoint import load_model_config


class WalkCells:
    """All cells of one kind of walk in one world."""

    def __init__(self, setting: Setting, world: WorldName, plan: WalkPlan) -> None:
        self._setting = setting
        self.plan = plan
        config = setting.config
        # The control comes first: others are compared with its frames.
        arms = [arm for arm in setting.arms() if plan.arms is None or arm.name in plan.arms]
        self._todo = [
            (arm, index)
            for arm in arms
            for index in range(len(setting.folders.transformers_of(arm)))
        ]
        segments = min(plan.num_segments, config.max_segments or plan.num_segments)
        arm, index = self._todo[0]
        folder = setting.folders.transformers_of(arm)[index]
        height, width = frame_size_of(folder)
        self.segment_frames = segment_frames_of(folder)
        self.given_segments = plan.given_segments * segments // plan.num_segments
        self.cases = CasesConfig(
            world=world,
            path=plan.path,
            num_cases=setting.num_cases(plan),
            num_frames=1 + segments * self.segment_frames,
            height=height,
            width=width,
            seed=config.seed,
        )
        self._recorded: list[Clip] | None = None
        self._truths: list[Truth] | None = None

    def cells(self) -> Iterator[Cell]:
        """Yield the cells one by one, from disk where they are finished."""
        for arm, index in self._todo:
            stem = cell_name(arm.name, index, self.cases.world, self.cases.path)
            key = self._key(arm, index)
            cell = read_cell(self._setting.folder, stem)
            if cell is None or cell.key != key:
                self._setting.tell(f"{stem}: {self.cases.num_cases} walks")
                cell, arrays = self._compute(arm, index, key)
                write_cell(self._setting.folder, cell, arrays)
            yield cell

    def _key(self, arm: Arm, seed_index: int) -> str:
        folders, config = self._setting.folders, self._setting.config
        measured = config.model_dump(
            mode="json",
            exclude={
                "num_workers",
                "worlds",
                "arms",
                "num_cases",
                "cases",
                "max_segments",
                "paths",
                "decoder_steps",
            },
        )
        student = folders.starters[min(seed_index, len(folders.starters) - 1)] / "student"
        decoder = folders.decoder_of(arm, seed_index)
        return cell_key(
            MEASURES_VERSION,
            resolved(arm),
            resolved(self.cases),
            self.plan.locates,
            self.given_segments,
            list(self.plan.probes),
            measured,
            folder_digest(folders.transformers_of(arm)[seed_index]),
            folder_digest(folders.vae_of(seed_index)),
            folder_digest(student) if arm.is_naive else None,
            folder_digest(decoder) if decoder is not None else None,
            self._setting.experiment.control,
        )

    def _compute(self, arm: Arm, seed_index: int, key: str) -> tuple[Cell, CellArrays]:
        config = self._setting.config
        built = self._built(arm, seed_index)
        cases, instruments = self._record(), self._instruments()
        made = self._walk(built, arm, cases)
        beside = self._beside(built, arm, seed_index, made)
        walked = list(zip(made, self._all_truths(instruments), strict=True))
        measured = self._setting.mapped(partial(measure_all, instruments=instruments), walked)
        records = [
            WalkRecord(
                clip_id=case.clip_id,
                world=case.world,
                noise_seed=self._noise_seed(case),
                values=found.values | more,
                segment_psnr_db=tuple(found.segment_psnr_db),
            )
            for case, found, more in zip(cases, measured, beside, strict=True)
        ]
        own, beside_it = self._time(built, arm, seed_index, cases[0])
        cell = Cell(
            key=key,
            arm=arm.name,
            seed_index=seed_index,
            world=self.cases.world,
            path=self.cases.path,
            walks=tuple(records),
            batch_size=min(config.batch_size, len(cases)),
            one_walk=own.segment if own else None,
            denoise_seconds=own.denoise_seconds if own else None,
            control=beside_it,
            num_steps=len(built.model.sampler.sigmas),
            weight_bytes=built.weight_bytes,
            weight_ratio=built.weight_bytes / built.full_weight_bytes,
            stored_ratio=built.stored_weight_bytes / built.full_weight_bytes,
            device=device_name(self._setting.device),
        )
        features = [found.features for found in measured]
        real = [found.real_features for found in measured]
        shown = made[0] if seed_index == 0 else made[0][-1:]  # pages show the first seed
        return cell, CellArrays(features, real, shown)

    def _num_seeds(self, arm: Arm) -> int:
        return len(self._setting.folders.transformers_of(arm))

    def _built(self, arm: Arm, seed_index: int) -> BuiltArm:
        """Return an arm's model of a training seed, or of its last where it has fewer."""
        return build_arm(
            arm,
            self._setting.folders,
            min(seed_index, self._num_seeds(arm) - 1),
            self._setting.device,
            self._lessons,
            self._setting.config.base_steps,
        )

    def _walk(self, built: BuiltArm, arm: Arm, cases: Sequence[Clip]) -> list[Frames]:
        size, made, model = self._setting.config.batch_size, [], built.model
        planned = self._plans(model, arm, cases)
        for start in range(0, len(cases), size):
            some = cases[start : start + size]
            seeds = [self._noise_seed(case) for case in some]
            given = None
            if self.given_segments:
                latents = recorded_latents(model, built.vae.encode, [c.frames for c in some])
                given = GivenPast(latents, num_segments=self.given_segments)
            walked = walk(model, some, planned[start : start + size], seeds, given)
            made += films(model, walked.latents)
        return made

    def _beside(
        self, built: BuiltArm, arm: Arm, seed_index: int, made: Sequence[Frames]
    ) -> list[Values]:
        """Return the figures that need the networks, or the control's films, walk by walk."""
        cases, first = self._record(), self._first_made
        most = self._setting.config.measure.most_judged_frames
        references = self._references(seed_index, arm, made)
        probes = self._probed(built, arm, cases, made)
        return [
            more
            | reconstruction_figures(
                built,
                film,
                case.frames,
                first=first.start,
                segment_frames=self.segment_frames,
                most_judged_frames=most,
            )
            | {"parity_psnr_db": _parity_psnr_db(film[first], reference)}
            for case, film, reference, more in zip(cases, made, references, probes, strict=True)
        ]

    def _probed(
        self, built: BuiltArm, arm: Arm, cases: Sequence[Clip], made: Sequence[Frames]
    ) -> list[Values]:
        """Return the figures of what else is tried on these recordings, walk by walk."""
        size, found = self._setting.config.batch_size, []
        plans = self._plans(built.model, arm, cases) if self.plan.probes else []
        for start in range(0, len(cases), size):
            some = slice(start, start + size)
            seeds = [self._noise_seed(case) for case in cases[some]]
            walks = Walks(
                built.model,
                cases[some],
                plans[some],
                seeds,
                built.vae.encode,
                made[some],
                self.given_segments,
            )
            found += probed(walks, self.plan.probes, self._setting.config.probe)
        return found

    def _plans(self, model: WorldModel, arm: Arm, cases: Sequence[Clip]) -> list[ContextPlan]:
        shape = model.transformer.config
        retrieval = Retrieval(shape, model.retrieval, model.bank, model.intrinsics)
        walks = [(session_poses(case), self._noise_seed(case)) for case in cases]
        choose = partial(_planned, choice=arm.memory, retrieval=retrieval)
        return self._setting.mapped(choose, walks)

    def _noise_seed(self, case: Clip) -> int:
        return seed_of(self._setting.config.seed, case.clip_id)

    def _time(
        self, built: BuiltArm, arm: Arm, seed_index: int, case: Clip
    ) -> tuple[Times | None, Times | None]:
        """Return the times of one walk alone, and the control's beside those of another arm."""
        count = self._setting.config.timed_segments
        if not count:
            return None, None
        frames = frames_to_time(count, self.segment_frames)
        short = cut_short(case, min(case.num_frames, frames))
        control = self._setting.experiment.arm(self._setting.experiment.control)
        timed = [(arm, built.model)]
        if arm.name != control.name and self._num_seeds(control):
            timed.append((control, self._built(control, seed_index).model))
        walks = [
            partial(walk, model, [short], self._plans(model, which, [short]), [0])
            for which, model in timed
        ]
        own, *beside_it = timed_in_turns(walks)
        return own, beside_it[0] if beside_it else None

    def _references(
        self, seed_index: int, arm: Arm, made: Sequence[Frames]
    ) -> Sequence[Frames | None]:
        """Return the control's first segments of the same walks; the control keeps its own.

        There is none of walks whose cells came from another machine.
        """
        folder, control = self._setting.folder, self._setting.experiment.control
        seeds = self._num_seeds(self._setting.experiment.arm(control))
        if not seeds:
            return [film[self._first_made] for film in made]
        index = min(seed_index, seeds - 1)
        stem = cell_name(control, index, self.cases.world, self.cases.path)
        if arm.name == control:
            first = [film[self._first_made] for film in made]
            write_first_frames(folder, stem, first)
            return first
        return read_first_frames(folder, stem) or [None] * len(made)

    @property
    def _first_made(self) -> slice:
        """Frames of the first segment that a model makes."""
        first = 1 + self.given_segments * self.segment_frames
        return slice(first, first + self.segment_frames)

    def _record(self) -> list[Clip]:
        if self._recorded is None:
            record = partial(record_case, self.cases)
            self._recorded = self._setting.mapped(record, range(self.cases.num_cases))
        return self._recorded

    def _lessons(self) -> list[Frames]:
        training = self._setting.config.reader or InverseDynamicsTraining()
        return [clip.frames for clip in self._setting.lessons(self.cases, training)]

    def _instruments(self) -> Instruments:
        measure = self._setting.config.measure
        if not self.plan.locates:
            measure = measure.model_copy(update={"pose_stride_frames": 0})
        given_frames = self.given_segments * self.segment_frames
        reader = self._setting.reader(self.cases)
        return Instruments(measure, self.segment_frames, reader, given_frames)

    def _all_truths(self, instruments: Instruments) -> list[Truth]:
        if self._truths is None:
            judge = partial(truth_of, instruments=instruments)
            self._truths = self._setting.mapped(judge, self._record())
        return self._truths


def _parity_psnr_db(frames: Frames, reference: Frames | None) -> float | None:
    return None if reference is None else float(psnr_db(frames, reference).mean())


def _planned(
    walk: tuple[FloatArray, int], choice: MemoryChoice, retrieval: Retrieval
) -> ContextPlan:
    poses, seed = walk
    return plan_context(poses, choice, retrieval, seed)


def segment_frames_of(folder: Path) -> int:
    """Return the frames of a segment that a stored transformer makes."""
    return TEMPORAL_STRIDE * load_model_config(folder).transformer.segment_latents


def device_name(device: torch.device) -> str:
    """Return what computed: cpu, or the accelerator's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
