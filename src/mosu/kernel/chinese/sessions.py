"""The command line: a session while it runs."""

from typing import Final

SENTENCES: Final[dict[str, str]] = {
    "Let a member of your organisation into your session.": "把会话共享给本单位成员。",
    "A session is still needed though nobody uses it.": "会话暂时无人使用，但仍需保留。",
    "Say that a session is still needed though nobody uses it: the time after which it is stopped starts anew.": "说明会话暂时无人使用但仍需保留：闲置时间重新计算。",
    "With --idle-stop it gets a time of its own; the organisation's, if shorter, counts all the same.": "用 --idle-stop 单独设置时间；单位的时间若更短，仍按单位的。",
    "Stop it when nobody used it for so long, such as 30m; none: no time.": "无人使用满这段时间即停止，如 30m；none 为取消。",
    "{run} is kept; its wall limit ends it at {time}.": "{run} 已保留，到 {time} 因时限结束。",
    "{run} has no time of its own any more.": "{run} 已取消单独设置的时间。",
    "{run} is stopped when nobody used it for {minutes} minutes.": "{run} 无人使用满 {minutes} 分钟即停止。",
    "--idle-stop {text} is no duration.": "--idle-stop {text} 不是时长。",
    "Such as 30m or 2h, or none.": "如 30m、2h，或 none。",
    "Let a member be joined to your session as you are, or list with whom it is shared.": "让一位成员与您一样连接会话，或列出已共享给谁。",
    "Everybody in the organisation sees its page anyway. Who is sent out is cut off within half a minute.": "本单位成员本来都能看到其页面。停止共享后，连接在半分钟内断开。",
    "A member of your organisation.": "本单位成员的邮箱。",
    "Share it with them no more.": "不再共享给该成员。",
    "--end needs a person.": "--end 要写明成员。",
    "Name them: mosu share {run} EMAIL --end": "请写明：mosu share {run} EMAIL --end",
    "SINCE": "自",
    "{run} is not shared with {person}.": "{run} 没有共享给 {person}。",
    "See with whom: mosu share {run}": "查看共享给谁：mosu share {run}",
    "{run} is shared with nobody.": "{run} 没有共享给任何人。",
}
