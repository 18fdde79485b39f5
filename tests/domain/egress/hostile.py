"""Targets that must not be reached, by what they try. {port} is the port of listeners on all local addresses."""

HOSTILE = {
    "loopback": [
        "http://127.0.0.1:{port}/", "http://127.0.0.53:{port}/", "http://127.255.255.254:{port}/", "http://[::1]:{port}/",
        "https://127.0.0.1:{port}/", "HTTP://127.0.0.1:{port}/", "http://[0:0:0:0:0:0:0:1]:{port}/",
        "http://[0000::0001]:{port}/", "http://127.0.0.1:0{port}/",
    ],
    "any address": ["http://0.0.0.0:{port}/", "http://[::]:{port}/", "http://0.0.0.1:{port}/"],
    "decimal, octal, hexadecimal, short": [
        "http://2130706433:{port}/", "http://017700000001:{port}/", "http://0x7f000001:{port}/",
        "http://0X7F000001:{port}/", "http://0x7F.0X0.0x0.0x1:{port}/", "http://0177.0.0.1:{port}/",
        "http://0177.0.0.01:{port}/", "http://127.1:{port}/", "http://127.0.1:{port}/", "http://0:{port}/",
        "http://0x:{port}/", "http://0x7f.1:{port}/", "http://127.0x0.1:{port}/", "http://00000177.1:{port}/",
        "http://4294967297:{port}/", "http://127.0.0.0x1:{port}/", "http://127.00.00.01:{port}/",
        "http://3232235521:{port}/", "http://1:{port}/",
    ],
    "dots": [
        "http://127.0.0.1.:{port}/", "http://127.0.0.1..:{port}/", "http://.127.0.0.1:{port}/",
        "http://127..0.0.1:{port}/", "http://localhost.:{port}/", "http://2130706433.:{port}/",
    ],
    "digits and dots of other scripts": [
        "http://\uff11\uff12\uff17.0.0.1:{port}/", "http://\u2460\u2461\u2466.0.0.1:{port}/",
        "http://127\u30020\u30020\u30021:{port}/", "http://127\uff0e0\uff0e0\uff0e1:{port}/",
        "http://127\uff610\uff610\uff611:{port}/", "http://\U0001d7cf\U0001d7d0\U0001d7d5.0.0.1:{port}/",
        "http://\u0967\u0968\u096d.0.0.1:{port}/", "http://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3:{port}/",
        "http://\uff4c\uff4f\uff43\uff41\uff4c\uff48\uff4f\uff53\uff54:{port}/", "http://local\u00adhost:{port}/",
        "http://localho\u017ft:{port}/", "http://1\u00b27.0.0.1:{port}/", "http://127.0.0.1\u200b:{port}/",
    ],
    "percent-escapes": [
        "http://%31%32%37.0.0.1:{port}/", "http://127.0.0.1%00.example:{port}/", "http://%6cocalhost:{port}/",
        "http://127%2e0%2e0%2e1:{port}/", "http://127.0.0.1%2f.example:{port}/", "http://example.com%40127.0.0.1:{port}/",
        "http://%5b::1%5d:{port}/",
    ],
    "userinfo": [
        "http://example.com@127.0.0.1:{port}/", "http://example.com:80@127.0.0.1:{port}/", "http://@127.0.0.1:{port}/",
        "http://example.com\\@127.0.0.1:{port}/", "http://127.0.0.1:{port}\\@example.com/",
        "http://a:b@c@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@example.com/", "http://127.0.0.1:{port}?@example.com/",
    ],
    "zones": [
        "http://[fe80::1%25eth0]:{port}/", "http://[fe80::1%eth0]:{port}/", "http://[::1%25lo]:{port}/",
        "http://[::1%lo]:{port}/",
    ],
    "brackets": [
        "http://[127.0.0.1]:{port}/", "http://[[::1]]:{port}/", "http://[::1:{port}/", "http://::1:{port}/",
        "http://[::1]]:{port}/", "http://[::1].example:{port}/", "http://[localhost]:{port}/", "http://[]:{port}/",
    ],
    "IPv6 that wraps IPv4": [
        "http://[::ffff:127.0.0.1]:{port}/", "http://[::ffff:7f00:1]:{port}/", "http://[::FFFF:7F00:0001]:{port}/",
        "http://[::127.0.0.1]:{port}/", "http://[::7f00:1]:{port}/", "http://[::ffff:0:127.0.0.1]:{port}/",
        "http://[64:ff9b::127.0.0.1]:{port}/", "http://[64:ff9b:1::7f00:1]:{port}/", "http://[2002:7f00:1::]:{port}/",
        "http://[2001:0:7f00:1::]:{port}/", "http://[2a00::5efe:127.0.0.1]:{port}/", "http://[::ffff:0:0]:{port}/",
    ],
    "private and special networks": [
        "http://10.0.0.1:{port}/", "http://172.16.0.1:{port}/", "http://192.168.0.1:{port}/", "http://100.64.0.1:{port}/",
        "http://169.254.1.1:{port}/", "http://192.0.2.1:{port}/", "http://198.18.0.1:{port}/", "http://224.0.0.1:{port}/",
        "http://240.0.0.1:{port}/", "http://255.255.255.255:{port}/", "http://[fc00::1]:{port}/",
        "http://[fd12:3456::1]:{port}/", "http://[fe80::1]:{port}/", "http://[fec0::1]:{port}/", "http://[ff02::1]:{port}/",
        "http://[2001:db8::1]:{port}/", "http://[100::1]:{port}/",
    ],
    "metadata": [
        "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/latest/meta-data/",
        "http://168.63.129.16/metadata/instance", "http://100.100.100.200/latest/meta-data/", "http://192.0.0.192/opc/v2/",
        "http://169.254.170.2/v2/credentials", "http://metadata.google.internal/computeMetadata/v1/",
        "http://metadata/computeMetadata/v1/", "http://2852039166/latest/meta-data/", "http://0xA9FEA9FE/",
        "http://[::ffff:169.254.169.254]/", "http://instance-data.ec2.internal/", "http://metadata.goog.internal./",
    ],
    "local names": [
        "http://localhost:{port}/", "http://LOCALHOST:{port}/", "http://a.localhost:{port}/",
        "http://localhost.localdomain:{port}/", "http://ip6-localhost:{port}/", "http://printer.local:{port}/",
        "http://kubernetes:{port}/", "http://kubernetes.default.svc:{port}/", "http://redis.shop.svc.cluster.local:{port}/",
        "http://db.internal:{port}/", "http://router.home.arpa:{port}/",
    ],
    "ports": [
        f"http://93.184.215.14:{port}/" for port in (22, 23, 25, 53, 110, 445, 2375, 2379, 3306, 5432, 6379, 6443, 9200,
                                                     10250, 11211, 27017)
    ],
    "line breaks and controls": [
        "http://127.0.0.1:{port}/\r\nHost: a", "http://127.0.0.1:{port}\t/", "http://127.0.0.1\n:{port}/",
        "http://127.0.0.1:{port}/\x00", " http://127.0.0.1:{port}/",
        "http://127.0.0.1 :{port}/", "http://127.0.0.1:{port} /",
        "http:\n//127.0.0.1:{port}/", "http://exam\tple.com@127.0.0.1:{port}/",
    ],
    "schemes and slashes": [
        "http:/127.0.0.1:{port}/", "http:127.0.0.1:{port}/", "http:////127.0.0.1:{port}/", "//127.0.0.1:{port}/",
        "gopher://127.0.0.1:{port}/", "file:///etc/passwd", "http:\\\\127.0.0.1:{port}/", "ws://127.0.0.1:{port}/",
        "javascript:alert(1)", "unix:/run/docker.sock", "http+unix://%2Frun%2Fdocker.sock/",
    ],
}  # fmt: skip
ALL = [url for urls in HOSTILE.values() for url in urls]
