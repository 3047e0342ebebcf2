"""Makes the font of mosu's papers (bill, statement, receipt):  python tools/make_font.py NotoSansSC_400Regular.ttf

What is kept of Noto Sans SC: Latin, punctuation, the hanzi of GB 2312 (simplified) and of Big5's first plane of
frequent ones (traditional), and those of names that stand in neither. TrueType outlines, no features: as a PDF needs.
The source is the font's TTF as npm's @expo-google-fonts/noto-sans-sc 0.4.3 has it; needs fonttools.
"""

import sys
from pathlib import Path
from typing import Final

from fontTools import subset

TARGET: Final = (
    Path(__file__).resolve().parent.parent / "src" / "mosu" / "market" / "papers" / "NotoSansSC-mosu.ttf"
)
NAMES: Final = (
    "珺玥玮珅琇瑄璟祎禤翀堃喆镕淼垚犇骉翾赟頔頫祺晔昉昳暐旻飏飐煊烜焜燚炘焱弢濛湉淏淦昇昶竑锜铖锴钊钰鑫頲"
    "芃茗菡萱莜蓁瀚玙瑀珩珣珞瑗瑢瑱璠璐璇琰琬琮旸晞晟晗曦曈槿榕楷楠梓桓桢栩柃彧翊翃澍沄沐泓洺浠浥淇渼湜潼"
    "灏瓴皓筱箐粲缦羿胤芊苒茜茉荃荻莞菀蔚蕊薇藜褚諴贇轩軒辰逸逯邈郢酉钦铎銮锟霁霆霈靓韬韫顗颀飒馨骁骐骞髙"
    "魁鸢麒麓黟黻龑龢龘"
)
PUNCTUATION: Final = "·—–…−×÷≈≤≥‘’“”¥€£₹°‰ⅠⅡⅢ℃①②③④⑤〇〓"


def kept() -> set[int]:
    """The code points."""
    points = {*range(0x20, 0x7F), *range(0xA0, 0x180)}
    points |= {ord(letter) for letter in NAMES + PUNCTUATION}
    for high in range(0xA1, 0xF8):
        for low in range(0xA1, 0xFF):
            points |= _decoded(bytes((high, low)), "gb2312")
    for high in range(0xA4, 0xC7):
        for low in (*range(0x40, 0x7F), *range(0xA1, 0xFF)):
            points |= _decoded(bytes((high, low)), "big5")
    return points


def _decoded(code: bytes, encoding: str) -> set[int]:
    try:
        return {ord(code.decode(encoding))}
    except UnicodeDecodeError:
        return set()


def main(source: str) -> None:
    options = subset.Options(
        layout_features=[], hinting=False, notdef_outline=True, name_IDs=[0, 1, 2, 3, 4, 5, 6, 13, 14],
        drop_tables=["BASE", "DSIG", "GDEF", "GPOS", "GSUB", "MATH", "STAT", "VORG", "vhea", "vmtx", "gasp"],
    )  # fmt: skip
    options.recalc_timestamp = False
    font = subset.load_font(source, options)
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=kept())
    cutter.subset(font)
    TARGET.parent.mkdir(exist_ok=True)
    subset.save_font(font, TARGET, options)
    print(f"{TARGET.name}: {len(font.getGlyphOrder())} glyphs, {TARGET.stat().st_size:,} bytes")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
