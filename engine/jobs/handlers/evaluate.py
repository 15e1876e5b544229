"""The "evaluate" job: compare a run's adapter with the base model, or a student with its teacher."""

from collections.abc import Generator

from engine.jobs.context import JobContext
from engine.jobs.kinds import JobSteps, job_steps
from engine.jobs.spec import EvaluateConfig, JobProgress
from engine.runs.results import Evaluation
from engine.runs.run import Run


def evaluate_run(config: EvaluateConfig, context: JobContext) -> JobSteps:
    """Evaluate a run. Result: the evaluation, which is also saved in the run's folder."""
    return (yield from evaluation_of(config, context)).model_dump(mode="json")


def evaluation_of(
    config: EvaluateConfig, context: JobContext, *, reuse: bool = False
) -> Generator[JobProgress, None, Evaluation]:
    """Make an evaluation and save it; the model, which has the run's adapters, is released afterwards.

    With `reuse`, a saved evaluation of the same plan is returned instead.
    """
    from engine.training.evaluation.evaluate import evaluate, plan_evaluation

    run = Run.find(context.store.workspace, config.run)
    plan = plan_evaluation(
        run, prompts=config.prompts, num_prompts=config.num_prompts, takes=config.takes, mix=config.mix
    )
    saved = run.evaluation() if reuse else None
    if saved is not None and plan.matches(saved):
        return saved
    yield JobProgress(phase="load")
    try:
        made = yield from job_steps(evaluate(context.model.open(plan.model), plan))
        run.save_evaluation(made)
        return made
    finally:
        context.model.release()
