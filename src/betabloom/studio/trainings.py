"""Answers about folders of pictures and trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

if TYPE_CHECKING:
    from betabloom.studio.jobs import Jobs

__all__ = ["Trainings"]


class Trainings:
    """Answers to the routes of folders and runs.

    Arguments:
        jobs: The trainings.
    """

    def __init__(self, jobs: Jobs) -> None:
        self.jobs = jobs

    async def get_folders(self) -> Any:
        return {"folders": await run_in_threadpool(self.jobs.folders)}

    async def put_folders_put(self, folder: str, file: str, body: bytes) -> Any:
        await run_in_threadpool(self.jobs.put, folder, file, body)
        return {"kept": file}

    async def post_inspect(self, source: str) -> Any:
        from betabloom import data
        from betabloom.data.inspection.advice import FEW

        def looked() -> dict[str, Any]:
            report = data.inspect(data.open_source(source), (64, 64), quick=True)
            return {"report": report.text(), "few": report.total < FEW}

        return await run_in_threadpool(looked)

    async def get_runs(self) -> Any:
        return {"runs": await run_in_threadpool(self.jobs.all)}

    async def post_runs(self, source: str, name: str, budget: str, model: str) -> Any:
        return await run_in_threadpool(self.jobs.start, source, name, budget, model)

    async def get_runs_run(self, run: str) -> Any:
        return await run_in_threadpool(self.jobs.about, run)

    async def get_runs_run_sample(self, run: str) -> Any:
        return Response(await run_in_threadpool(self.jobs.sample, run), media_type="image/png")

    async def post_runs_run_stop(self, run: str) -> Any:
        return await run_in_threadpool(self.jobs.stop, run)

    async def post_runs_run_resume(self, run: str) -> Any:
        return await run_in_threadpool(self.jobs.resume, run)
