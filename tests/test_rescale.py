import numpy as np

from lstmgen.codegen.rescale import Rescale, rescales, shift_table


def ways(*groups: list[int], clamped: bool = False, limit: int = 2**31 - 1) -> tuple[Rescale, ...]:
    shifts = [np.array(group) for group in groups]
    never = [np.full(len(group), clamped) for group in groups]
    return rescales(shifts, never, [limit] * len(groups))


def test_a_shift_that_all_rows_share_is_a_constant() -> None:
    assert ways([3, 3], [0, 0], [-4, -4]) == (
        Rescale("right", 3),
        Rescale("none"),
        Rescale("left", 4),
    )
    assert ways([-4])[0].factor == 16


def test_other_shifts_are_read_by_row() -> None:
    right, left = ways([3, 0], [-1, 0])
    assert (right.kind, left.kind) == ("right_by_row", "left_by_row")
    assert right.by_row
    assert left.by_row
    assert (right.helpers, left.helpers) == (("asr",), ("shl",))


def test_both_directions_need_signs_and_every_reader_takes_them() -> None:
    found = ways([3, -1], [3, 2], [5, 5])
    assert [way.kind for way in found] == ["any_by_row", "any_by_row", "right"]
    assert set(found[0].helpers) == {"asr", "clamp", "shl", "rescale"}
    assert found[0].limit == 2**31 - 1


def test_clamps_appear_only_where_the_bound_asks_for_them() -> None:
    limit = 1 << 30
    assert ways([2, 2], clamped=True, limit=limit) == (Rescale("right", 2, limit),)
    assert ways([0, 0], clamped=True, limit=limit) == (Rescale("none", 0, limit),)
    assert ways([-2, -2], clamped=True, limit=limit) == (Rescale("left", 2, limit >> 2),)
    assert ways([2, 1], clamped=True, limit=limit) == (Rescale("right_by_row", 0, limit),)
    assert ways([-2, -1], clamped=True, limit=limit) == (Rescale("any_by_row", 0, limit),)


def test_the_table_holds_magnitudes_unless_signs_are_needed() -> None:
    assert shift_table(np.array([3, 3]), ways([3, 3])) is None
    one_way = shift_table(np.array([-3, 0]), ways([-3, 0]))
    assert one_way is not None
    assert (one_way.values.tolist(), one_way.signed, one_way.meaning) == (
        [3, 0],
        False,
        "To the left",
    )
    by_gate = shift_table(np.array([-3, 0, 1, 0]), ways([-3, 0], [1, 0]))
    assert by_gate is not None
    assert by_gate.meaning == "To the right or left"
    both = shift_table(np.array([-3, 2]), ways([-3, 2]))
    assert both is not None
    assert both.values.tolist() == [-3, 2]
    assert both.signed
