"""All links of a URDF as TF has them: the tip is where kinematics say."""

from __future__ import annotations

from pathlib import Path

import pytest

from floop_robot.robot.kinematics import Kinematics
from floop_robot.robot.link_frames import LinkFrames
from floop_robot.robot.transform import Transform
from floop_robot.spec.errors import ConfigError
from floop_robot.spec.robot_model import load_robot

MIMIC = """<robot name="r"><link name="a"/><link name="b"/><link name="c"/>
<joint name="left" type="prismatic"><parent link="a"/><child link="b"/><axis xyz="0 2 0"/></joint>
<joint name="right" type="revolute"><parent link="a"/><child link="c"/><origin xyz="1 0 0"/><axis xyz="0 0 1"/>
<mimic joint="left" multiplier="-2" offset="0.1"/></joint></robot>"""


@pytest.mark.parametrize("arm", ["panda", "ur5e", "ur10e", "xarm6", "xarm7"])
def test_the_tip_is_where_kinematics_put_it(arm: str) -> None:
    model = load_robot(arm)
    frames = LinkFrames(model.urdf_path)
    q = [home + 0.1 * i for i, home in enumerate(model.home_rad)]
    links = {each.link: each for each in (*frames.fixed, *frames.moving(dict(zip(model.joint_names, q, strict=True))))}
    place, link = Transform(), model.tip_link
    while link != model.base_link:
        place = links[link].transform @ place
        link = links[link].parent
    assert place.position_m == pytest.approx(Kinematics(model).position(q), abs=1e-9)


def test_fingers_slide_and_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "r.urdf"
    path.write_text(MIMIC)
    left, right = LinkFrames(path).moving({"left": 0.3})
    assert left.transform.position_m == pytest.approx((0.0, 0.3, 0.0))
    assert (right.transform @ Transform((1.0, 0.0, 0.0))).position_m == pytest.approx((1.877582562, -0.479425539, 0.0))
    for text in ("<robot>", MIMIC.replace('xyz="1 0 0"', 'xyz="1 0"'), MIMIC.replace('"-2"', '"x"')):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"r\.urdf"):
            LinkFrames(path)
