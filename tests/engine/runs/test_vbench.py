"""VBench: names of videos by the benchmarks' instructions, results as VBench writes them, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import ConfigError
from engine.runs.vbench import prompt_of, read_scores, read_suite

FIRST = [
    {"prompt_en": "a red ball, frozen in time", "dimension": ["temporal_flickering"]},
    {"prompt_en": "a ball and a box", "dimension": ["multiple_objects", "imaging_quality"], "auxiliary_info": {}},
]
LONG = "A ball rolls " + "on and on " * 20
SECOND = [
    {"prompt_en": "A garden, zoom in.", "dimension": ["Camera_Motion"], "auxiliary_info": "zoom_in"},
    {"prompt_en": "A man walks.", "dimension": ["Diversity", "Human_Anatomy"]},
    {"prompt_en": LONG, "dimension": ["Complex_Plot"]},
]


def saved(folder: Path, content: Any, name: str = "info.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def files_of(path: Path, *dimensions: str) -> list[str]:
    return [str(file) for video in read_suite(path).videos(dimensions) for file in video.files]


def test_vbench_has_five_videos_a_prompt_in_one_folder(tmp_path: Path) -> None:
    path = saved(tmp_path, FIRST)
    names = files_of(path)
    assert names == [f"{row['prompt_en']}-{index}.mp4" for row in FIRST for index in range(5)]
    assert files_of(path, "imaging_quality") == [f"a ball and a box-{index}.mp4" for index in range(5)]


def test_vbench_2_has_folders_by_dimension_and_more_videos_for_diversity(tmp_path: Path) -> None:
    path = saved(tmp_path, SECOND)
    assert files_of(path, "Camera_Motion") == [f"Camera_Motion/A garden, zoom in.-{index}.mp4" for index in range(3)]
    assert len(files_of(path, "Diversity")) == 20
    both = read_suite(path).videos(["Diversity", "Human_Anatomy"])
    assert [len(video.files) for video in both] == [2] * 3 + [1] * 17, "a prompt of two dimensions is generated once"
    assert files_of(path, "Complex_Plot")[0] == f"Complex_Plot/{LONG[:180]}-0.mp4"


def test_the_prompt_of_a_name_ends_before_the_number() -> None:
    assert prompt_of("a stop-and-go car-4.mp4") == "a stop-and-go car"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read as JSON"),
        ({"a": 1}, "is no list of prompts"),
        ([{"prompt_en": "x"}], "is no list of prompts"),
        ([], "is no list of prompts"),
        ([{"prompt_en": "a/b", "dimension": ["color"]}], "cannot be the name of a file: 'a/b'"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_suite(saved(tmp_path, content))


def test_an_unknown_dimension_gets_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no dimension 'imaging'. Did you mean 'imaging_quality'"):
        read_suite(saved(tmp_path, FIRST)).videos(["imaging"])


def videos(*values: Any) -> list[dict[str, Any]]:
    return [{"video_path": f"/data/a ball-{n}.mp4", "video_results": value} for n, value in enumerate(values)]


def test_scores_have_the_values_of_videos_in_their_own_unit(tmp_path: Path) -> None:
    results = {
        "subject_consistency": [0.5, videos(0.25, 0.75)],
        "imaging_quality": [0.6, videos(50.0, 70.0)],
        "dynamic_degree": [0.5, videos(True, False)],
        "color": [0.9, videos(0.1, 0.2)],
        "scene": [0.3, [{"video_path": "x-0.mp4", "video_results": {"words": 1}}]],
        "overall": 0.4,
    }
    found = read_scores([saved(tmp_path, results)])
    assert found["subject_consistency"].videos == {"a ball-0.mp4": 0.25, "a ball-1.mp4": 0.75}
    assert found["imaging_quality"].videos == pytest.approx({"a ball-0.mp4": 0.5, "a ball-1.mp4": 0.7})
    assert found["dynamic_degree"].videos == {"a ball-0.mp4": 1.0, "a ball-1.mp4": 0.0}
    assert [(found[name].score, found[name].videos) for name in ("color", "scene", "overall")] == [
        (0.9, {}),
        (0.3, {}),
        (0.4, {}),
    ]


def test_later_files_add_dimensions(tmp_path: Path) -> None:
    first = saved(tmp_path, {"color": [0.1, []], "scene": [0.2, []]}, "a.json")
    second = saved(tmp_path, {"scene": [0.3, []]}, "b.json")
    assert {name: one.score for name, one in read_scores([first, second]).items()} == {"color": 0.1, "scene": 0.3}


@pytest.mark.parametrize("content", [[1], {}, {"color": "good"}, {"color": []}])
def test_other_results_are_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ConfigError, match="_eval_results.json of VBench"):
        read_scores([saved(tmp_path, content)])
