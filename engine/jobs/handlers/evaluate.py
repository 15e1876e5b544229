"""What an "evaluate" job does: a run's adapter against the base model (a student: its teacher), kept in its folder."""

from collections.abc import Generator

from engine.jobs.context import JobContext
from engine.jobs.kinds import JobSteps as Running
from engine.jobs.spec import EvaluateConfig, JobProgress
from engine.runs.results import Evaluation
from engine.runs.run import Run


def evaluate_run(config: EvaluateConfig, context: JobContext) -> Running:
    """Result: the evaluation."""
    return (yield from evaluation_of(config, context)).model_dump(mode="json")


def evaluation_of(config: EvaluateConfig, context: JobContext) -> Generator[JobProgress, None, Evaluation]:
    """Make it and keep it. The loaded model goes afterwards: it has the run's adapters on it."""
    from engine.training.evaluation.evaluate import evaluate, plan_evaluation

    run = Run.find(context.store.workspace, config.run)
    plan = plan_evaluation(
        run, prompts=config.prompts, num_prompts=config.num_prompts, takes=config.takes, mix=config.mix
    )
    yield JobProgress(phase="load")
    try:
        steps = evaluate(context.model.open(plan.model), plan)
        while True:
            try:
                told = next(steps)
            except StopIteration as end:
                run.save_evaluation(end.value)
                return end.value
            yield JobProgress(phase=told.phase, step=told.step, of=told.of)
    finally:
        context.model.release()
