"""Coming into a session by ssh."""

from typing import Final

SENTENCES: Final[dict[str, str]] = {
    "Come into a session by ssh; scp and editors, too.": "用 ssh 进入会话；scp 和编辑器也可以。",
    "Come into a session with `apps: [ssh]` by the ssh of this machine.": "用本机的 ssh 进入写有 `apps: [ssh]` 的会话。",
    "It waits until the session runs. What follows RUN goes to ssh as it is: mosu ssh RUN -L 8080:localhost:80 top.": "会等到会话运行。RUN 之后的内容原样交给 ssh：mosu ssh RUN -L 8080:localhost:80 top。",
    "Key and certificate lie in a folder of your own; the certificate lives as long as the session, for a day at most.": "密钥和证书放在只有您可读的文件夹中；证书的有效期与会话相同，最长一天。",
    "mosu ssh --config RUN prints a block for ~/.ssh/config. With it, ssh, scp, sftp, rsync and editors find the session by name.": "mosu ssh --config RUN 输出写入 ~/.ssh/config 的内容；有了它，ssh、scp、sftp、rsync 和编辑器可按名称找到会话。",
    "ssh's own options, and a command to run there.": "ssh 自己的选项，以及在会话中执行的命令。",
    "Print what ~/.ssh/config needs, for scp, rsync and editors.": "输出 ~/.ssh/config 需要的内容，供 scp、rsync 和编辑器使用。",
    "What that block calls: only see to the key and its certificate.": "由该配置调用：只准备密钥和证书。",
    "What ssh calls: carry its bytes between its pipes and the session.": "由 ssh 调用：在其管道与会话之间传送字节。",
    "These do not go together.": "这些选项不能同时使用。",
    "mosu ssh --help says what does.": "用法见 mosu ssh --help。",
    "There is no ssh on this machine.": "本机没有 ssh。",
    "Install OpenSSH's client: apt-get install openssh-client, or as your system calls it.": "请安装 OpenSSH 客户端：apt-get install openssh-client，或您系统中的对应软件包。",
    "{text} is not the id of a run.": "{text} 不是作业编号。",
    "The hub's answer is no certificate.": "中心的回答不是证书。",
    "ssh-keygen made no key: {why}": "ssh-keygen 未能生成密钥：{why}",
    "Try it by hand.": "请手动试一次。",
    "This session has no ssh.": "该会话没有 ssh。",
    "Set mosu: {kind: session, apps: [ssh]} and run it again.": "请写 mosu: {kind: session, apps: [ssh]}，再次运行。",
    "public_key: this is no public key that is taken here.": "public_key：这不是可用的公钥。",
    "Taken are ed25519, ecdsa, and rsa of {bits} bits or more: ssh-keygen -t ed25519.": "可用的是 ed25519、ecdsa，以及不少于 {bits} 位的 rsa：ssh-keygen -t ed25519。",
    "has no OpenSSH server on its machines": "机器上没有 OpenSSH 服务器",
    "Choose another offer, or leave ssh out of mosu.apps.": "请选择其他商品，或在 mosu.apps 中去掉 ssh。",
}
