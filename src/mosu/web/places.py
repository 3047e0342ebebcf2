"""Names of places: cities that suppliers write, in both languages."""

from typing import Final

from django.utils.translation import pgettext

from mosu.compute.services import LOCAL_REGION
from mosu.web.words import told

_BOTH: Final = (
    ("北京", "Beijing"),
    ("上海", "Shanghai"),
    ("临港", "Lingang"),
    ("天津", "Tianjin"),
    ("重庆", "Chongqing"),
    ("广州", "Guangzhou"),
    ("深圳", "Shenzhen"),
    ("东莞", "Dongguan"),
    ("韶关", "Shaoguan"),
    ("珠海", "Zhuhai"),
    ("杭州", "Hangzhou"),
    ("宁波", "Ningbo"),
    ("温州", "Wenzhou"),
    ("嘉兴", "Jiaxing"),
    ("芜湖", "Wuhu"),
    ("南京", "Nanjing"),
    ("苏州", "Suzhou"),
    ("无锡", "Wuxi"),
    ("常州", "Changzhou"),
    ("合肥", "Hefei"),
    ("武汉", "Wuhan"),
    ("长沙", "Changsha"),
    ("郑州", "Zhengzhou"),
    ("南昌", "Nanchang"),
    ("福州", "Fuzhou"),
    ("厦门", "Xiamen"),
    ("济南", "Jinan"),
    ("青岛", "Qingdao"),
    ("沈阳", "Shenyang"),
    ("大连", "Dalian"),
    ("成都", "Chengdu"),
    ("贵阳", "Guiyang"),
    ("昆明", "Kunming"),
    ("西安", "Xi'an"),
    ("兰州", "Lanzhou"),
    ("庆阳", "Qingyang"),
    ("中卫", "Zhongwei"),
    ("银川", "Yinchuan"),
    ("张家口", "Zhangjiakou"),
    ("乌兰察布", "Ulanqab"),
    ("呼和浩特", "Hohhot"),
    ("和林格尔", "Horinger"),
    ("哈尔滨", "Harbin"),
    ("香港", "Hong Kong"),
    ("新加坡", "Singapore"),
    ("东京", "Tokyo"),
    ("法兰克福", "Frankfurt"),
)
_CITIES: Final = {name.casefold(): both for both in _BOTH for name in both}


def region_named(region: str) -> str:
    """A region in the page's language, where suppliers wrote a city that has a name in both; else as written."""
    if region == LOCAL_REGION:
        return pgettext("region", "local")
    both = _CITIES.get(region.strip().casefold())
    return told({"zh": both[0], "en": both[1]}) if both else region
