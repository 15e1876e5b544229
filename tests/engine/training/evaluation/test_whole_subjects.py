"""Parts of an evaluation that are scored together hold both sides of a prompt, however many prompts and takes."""

import pytest

from engine.training.evaluation.evaluate import whole_subjects


@pytest.mark.parametrize(("prompts", "takes"), [(1, 1), (4, 1), (5, 1), (8, 1), (4, 2), (3, 5), (40, 1)])
def test_both_sides_of_a_prompt_are_in_one_part(prompts: int, takes: int) -> None:
    one_side = [f"prompt {number}" for number in range(prompts) for _ in range(takes)]
    parts = list(whole_subjects(one_side + one_side))
    assert sorted(index for part in parts for index in part) == list(range(2 * prompts * takes))
    for prompt in set(one_side):
        (part,) = [part for part in parts if any((one_side + one_side)[index] == prompt for index in part)]
        assert sum((one_side + one_side)[index] == prompt for index in part) == 2 * takes
    assert all(8 <= len(part) < 8 + 2 * takes for part in parts[:-1])
