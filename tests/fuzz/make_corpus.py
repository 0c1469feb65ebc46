#!/usr/bin/env python3
"""Writes the seeds in corpus/: small valid files and damaged ones. Python's library alone.

The JPEG files there were written by libjpeg-turbo once; variants of them are made here. Files whose name begins with
"found_" are inputs that once made a parser misbehave: they stay as they are.
"""
import json
import math
import pathlib
import struct
import zipfile
import zlib
from io import BytesIO

HERE = pathlib.Path(__file__).parent
CORPUS = HERE / 'corpus'


def put(target, name, content):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


# ---- Model files
DETECTOR = '''nc: 2
depth_multiple: 1.0
width_multiple: 1.0
anchors:
  - [10, 13, 16, 30, 33, 23]
  - [30, 61, 62, 45, 59, 119]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, GSConv, [16, 3, 2]]
head:
  - [[2, 3], 1, Detect, [nc, anchors]]
'''


def yaml():
    for path in sorted((HERE / '../../models').glob('*.yaml')):
        put('yaml', 'model_' + path.name, path.read_bytes())
    put('yaml', 'detector', DETECTOR)
    put('yaml', 'crlf_bom', b'\xef\xbb\xbf' + DETECTOR.replace('\n', '\r\n').encode())
    put('yaml', 'json', json.dumps({'nc': 1, 'depth_multiple': 1, 'width_multiple': 0.5, 'backbone': [
        [-1, 1, 'Conv', [8, 3, 2, 'None', 1, True]], [-1, 3, 'VoVGSCSP', [16]], [[-1, 0], 1, 'Concat', [1]]],
        'head': []}))
    rows = ['Conv, [8, 6, 2, 2]', 'C3, [8, False]', 'DWConv, [8, 3, 2]', 'DSConv, [16, 3, 1]', 'SPPF, [16, 5]',
            'VoVGSCSPC, [16, False]', 'GSBottleneck, [16]', 'GSConvE, [16, 3]', 'C3Ghost, [16]', 'SPP, [16, [5, 9]]',
            'nn.Upsample, [None, 2, nearest]', 'Contract, [2]', 'Expand, [2]', 'VoVGSCSP2, [16]', 'nn.BatchNorm2d, []']
    for dialect in ('paper', 'y5', 'v4', 'v8'):
        body = ''.join(f'  - [-1, 2, {row}]\n' if row[0] in 'CV' else f'  - [-1, 1, {row}]\n' for row in rows)
        put('yaml', 'modules_' + dialect, f'dialect: {dialect}\nactivation: nn.LeakyReLU(0.1)\nshuffle: interleave\n'
            f'scales: {{n: [0.33, 0.25, 64]}}\nch: 3\nchannel_multiple: 4\nbackbone:\n{body}head: []\n')
    for i, row in enumerate(rows):
        put('yaml', f'row_{i}', f'nc: 1\nscales: {{n: [1, 1]}}\nbackbone: [[-1, 1, Conv, [16, 3, 1]]]\n'
            f'head: [[-1, 1, {row}]]\n')
    put('yaml', 'based', 'base: yolov5.yaml\nneck: {Conv: GSConv, C3: VoVGSCSP}\nnc: 3\n')
    put('yaml', 'based_on_nothing', 'base: nothing.yaml\nnc: 3\n')
    put('yaml', 'anchor_count', DETECTOR.replace('anchors:\n  - [10, 13, 16, 30, 33, 23]\n  - [30, 61, 62, 45, 59, '
                                                 '119]\n', 'anchors: 2\n'))
    put('yaml', 'aliases', 'a: &a [1, 2]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nd: [*c, *c, *c]\n' + DETECTOR)
    bomb = 'x0: &x0 [1, 1]\n' + ''.join(f'x{i}: &x{i} [*x{i-1}, *x{i-1}]\n' for i in range(1, 40))
    put('yaml', 'alias_bomb', bomb)
    put('yaml', 'alias_circle', 'a: &a [*a]\n')
    put('yaml', 'alias_unknown', 'a: *b\n')
    put('yaml', 'deep_flow', '[' * 3000)
    put('yaml', 'deep_map', '{a: ' * 500)
    put('yaml', 'deep_block', ''.join('- ' for _ in range(2000)))
    put('yaml', 'duplicate', 'nc: 1\nnc: 2\n')
    put('yaml', 'two_documents', 'nc: 1\n---\nnc: 2\n')
    put('yaml', 'tags', 'nc: !!python/object/apply:os.system ["echo marker"]\n')
    put('yaml', 'directive', '%YAML 1.2\n%TAG ! tag:x,2000:\n---\nnc: 1\n')
    put('yaml', 'complex_key', '? [1, 2]\n: 3\n')
    put('yaml', 'scalars', "a: 'it''s'\nb: \"\\x41\\u00e9\\n\"\nc: |\n  text\n  more\nd: >-\n  folded\n  text\n"
        "e: ~\nf: 1e3\ng: .5\nh: 0x10\n")
    put('yaml', 'not_utf8', b'nc: \xff\xfe\n')
    put('yaml', 'utf16', 'nc: 1\n'.encode('utf-16'))
    put('yaml', 'nul', b'nc: 1\0\n')
    put('yaml', 'huge_repeats', DETECTOR.replace('-1, 1, Conv', '-1, 1000, C3'))
    put('yaml', 'huge_width', DETECTOR.replace('[16, 3, 2]', '[65536, 7, 2]'))
    put('yaml', 'forward_from', DETECTOR.replace('[[2, 3]', '[[2, 4]'))
    put('yaml', 'evaluated', DETECTOR.replace('nc: 2', 'nc: __import__("os").system("echo marker")'))
    put('yaml', 'list', '- 1\n- 2\n')
    put('yaml', 'empty', '')
    put('yaml', 'many_lines', 'k: [' + '1,' * 3000 + '1]\n')


# ---- safetensors
def tensors(header, data=b'', length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(text) if length is None else length) + text + data


def safetensors():
    widths = {'F64': 8, 'F32': 4, 'F16': 2, 'BF16': 2, 'I64': 8, 'I32': 4, 'U8': 1, 'BOOL': 1}
    header, at = {'__metadata__': {'format': 'pt', 'names': '["cat", "dog"]', 'yaml': DETECTOR}}, 0
    for dtype, width in widths.items():
        header['t.' + dtype] = {'dtype': dtype, 'shape': [2, 3], 'data_offsets': [at, at + 6 * width]}
        at += 6 * width
    put('safetensors', 'all_types', tensors(header, bytes(range(at))))
    put('safetensors', 'truncated', tensors(header, bytes(range(at)))[:-3])
    put('safetensors', 'trailing', tensors(header, bytes(at + 5)))
    put('safetensors', 'names_by_number', tensors({'__metadata__': {'names': '{"0": "cat", "1": "d\\u00f6g"}'}}))
    put('safetensors', 'names_odd', tensors({'__metadata__': {'names': '[[], {}, 1, null]'}}))

    def one(**fields):
        entry = {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}
        entry.update(fields)
        return tensors({'w': entry}, bytes(8))
    put('safetensors', 'one', one())
    put('safetensors', 'rank_0', one(shape=[], data_offsets=[0, 4])[:-4])
    put('safetensors', 'rank_17', one(shape=[1] * 17))
    put('safetensors', 'empty_tensor', one(shape=[0, 5], data_offsets=[0, 0])[:-8])
    put('safetensors', 'overflow', one(shape=[2**32, 2**32, 4]))
    put('safetensors', 'negative', one(shape=[-2]))
    put('safetensors', 'fraction', one(shape=[2.5]))
    put('safetensors', 'backwards', one(data_offsets=[8, 0]))
    put('safetensors', 'far', one(data_offsets=[0, 2**63]))
    put('safetensors', 'three_offsets', one(data_offsets=[0, 8, 8]))
    put('safetensors', 'fp8', one(dtype='F8_E4M3'))
    put('safetensors', 'hole', tensors({'a': {'dtype': 'U8', 'shape': [1], 'data_offsets': [0, 1]},
                                        'b': {'dtype': 'U8', 'shape': [1], 'data_offsets': [2, 3]}}, bytes(3)))
    put('safetensors', 'overlap', tensors({'a': {'dtype': 'U8', 'shape': [2], 'data_offsets': [0, 2]},
                                           'b': {'dtype': 'U8', 'shape': [2], 'data_offsets': [1, 3]}}, bytes(3)))
    put('safetensors', 'twice', tensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                                        b'"\\u0061":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', bytes(2)))
    put('safetensors', 'padded', tensors(json.dumps({}).encode() + b' ' * 30))
    put('safetensors', 'nested', tensors(b'{"a":' * 100))
    put('safetensors', 'long_number', tensors(b'{"a":{"shape":[' + b'1' * 300 + b']}}'))
    put('safetensors', 'bad_utf8', tensors(b'{"\xff\xc0":{}}'))
    put('safetensors', 'huge_header', tensors(b'{}', length=2**63))
    put('safetensors', 'short', b'\1\2')


# ---- PyTorch files; what does not begin with PK is the pickle of an archive (see pt.cpp)
def text(value):
    return b'X' + struct.pack('<I', len(value)) + value.encode()


def number(value):
    return b'\x8a\x08' + struct.pack('<q', value)


def sizes(values):
    return b'(' + b''.join(number(v) for v in values) + b't'


def tensor(kind='Float', key='0', elements=16, offset=0, dims=(2, 3), strides=(3, 1)):
    storage = b'(' + text('storage') + b'ctorch\n' + kind.encode() + b'Storage\n' + text(key) + text('cpu') + \
        number(elements) + b'tQ'
    return b'ctorch._utils\n_rebuild_tensor_v2\n(' + storage + number(offset) + sizes(dims) + sizes(strides) + \
        b'\x89ccollections\nOrderedDict\n)RtR'


def module(name, children=(), parameters=(), more=b''):
    state = b'}(' + text('_modules') + b'ccollections\nOrderedDict\n)R(' + \
        b''.join(text(k) + v for k, v in children) + b'u' + text('_parameters') + b'}(' + \
        b''.join(text(k) + v for k, v in parameters) + b'u' + text('_buffers') + b'}' + more + b'u'
    return b'c' + '\n'.join(name.rsplit('.', 1)).encode() + b'\n)\x81' + state + b'b'


def pickle(value):
    return b'\x80\x02' + value + b'.'


def pt():
    put('pt', 'state.pt', (HERE / '../golden/torch/state.pt').read_bytes())
    with zipfile.ZipFile(HERE / '../golden/torch/y5.pt') as archive:
        name = next(n for n in archive.namelist() if n.endswith('data.pkl'))
        put('pt', 'network_pickle', archive.read(name))
    put('pt', 'state_dict', pickle(b'}' + text('w') + tensor() + b's'))
    put('pt', 'transposed', pickle(b'}' + text('w') + tensor(dims=(3, 2), strides=(1, 3)) + b's'))
    put('pt', 'expanded', pickle(b'}' + text('w') + tensor(dims=(1000, 1000), strides=(0, 0)) + b's'))
    put('pt', 'half', pickle(b'}' + text('w') + tensor('Half', '1', 32) + b's'))
    put('pt', 'far', pickle(b'}' + text('w') + tensor(offset=2**62) + b's'))
    put('pt', 'overflow', pickle(b'}' + text('w') + tensor(dims=(2**32, 2**32), strides=(2**32, 1)) + b's'))
    put('pt', 'wrong_storage', pickle(b'}' + text('w') + tensor('Double') + b's'))
    put('pt', 'parameter', pickle(b'}' + text('w') + b'ctorch._utils\n_rebuild_parameter\n(' + tensor() +
                                  b'\x88ccollections\nOrderedDict\n)RtRs'))
    conv = module('models.common.Conv', [('act', module('torch.nn.modules.activation.LeakyReLU', more=text(
        'negative_slope') + b'G' + struct.pack('>d', 0.1)))], [('weight', tensor())])
    model = module('models.yolo.Model', [('model', module('torch.nn.modules.container.Sequential', [('0', conv)]))],
                   more=text('names') + b'](' + text('cat') + text('dog') + b'e' + text('yaml') + b'}(' + text('nc') +
                   number(2) + text('backbone') + b']' + text('depth_multiple') + b'G' + struct.pack('>d', math.pi) +
                   b'u')
    put('pt', 'checkpoint', pickle(b'}(' + text('epoch') + b'K\7' + text('model') + model + text('ema') + b'Nu'))
    put('pt', 'not_allowed', pickle(b'cos\nsystem\n(' + text('echo marker') + b'tR'))
    put('pt', 'circle', pickle(b'}q\0' + text('model') + b'h\0s'))
    put('pt', 'tower', pickle(b')' + b'\x85' * 3000))
    put('pt', 'marks', pickle(b'(' * 3000))
    put('pt', 'doubling', pickle(b'K\1' + b''.join(b'q' + bytes([i]) + b'h' + bytes([i]) + b'\x86' for i in range(60))))
    put('pt', 'append_bomb', pickle(b']q\0' + b'h\0a' * 2000))
    put('pt', 'protocol_4', b'\x80\x04' + text('a') + b'.')
    put('pt', 'before_1_6', b'\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.')

    def archive(records, method=zipfile.ZIP_STORED):
        out = BytesIO()
        with zipfile.ZipFile(out, 'w', method) as file:
            for name, data in records:
                info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                info.compress_type = method
                file.writestr(info, data)
        return out.getvalue()
    state = pickle(b'}' + text('w') + tensor() + b's')
    records = [('a/data.pkl', state), ('a/data/0', bytes(64)), ('a/version', b'3\n')]
    whole = archive(records)
    put('pt', 'zip', whole)
    put('pt', 'zip_deflated', archive(records, zipfile.ZIP_DEFLATED))
    put('pt', 'zip_twice', whole[:30] + whole[30:].replace(b'a/version', b'a/data/00'[:9]))
    put('pt', 'zip_torchscript', archive(records + [('a/constants.pkl', b'')]))
    put('pt', 'zip_big_endian', archive(records + [('a/byteorder', b'big')]))
    put('pt', 'zip_no_pickle', archive(records[1:]))
    put('pt', 'zip_truncated', whole[:-5])
    put('pt', 'zip_checksum', whole.replace(b'storage', b'storagf'))
    put('pt', 'zip_empty', archive([]))


# ---- Pictures
def chunk(kind, body):
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))


def png(width, height, depth, colour, rows, interlace=0, before=b'', behind=b''):
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth, colour, 0, 0, interlace)) \
        + before + chunk(b'IDAT', zlib.compress(rows)) + behind + chunk(b'IEND', b'')


def tiff(value):
    return b'MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1' + struct.pack('>HH', value, 0) + b'\0\0\0\0'


def pictures():
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    width, height = 9, 5
    for colour, allowed in depths.items():
        for depth in allowed:
            palette = chunk(b'PLTE', bytes(3 * 2**depth)) if colour == 3 else b''

            def row(columns, filter_number):
                return bytes([filter_number]) + bytes(7 * i % 251 for i in range((columns * channels[colour] * depth +
                                                                                  7) // 8))
            put('image', f'png_{colour}_{depth}', png(width, height, depth, colour, b''.join(
                row(width, y % 5) for y in range(height)), before=palette))
            rows = b''
            for x, y, dx, dy in passes:
                columns, lines = -(-(width - x) // dx), -(-(height - y) // dy)
                if columns > 0:
                    rows += b''.join(row(columns, i % 5) for i in range(lines))
            put('image', f'png_{colour}_{depth}_interlaced', png(width, height, depth, colour, rows, 1, palette))
    gray = b'\0\1\2' * 2
    put('image', 'png_exif', png(2, 2, 8, 0, gray, before=chunk(b'eXIf', tiff(6))))
    put('image', 'png_exif_behind', png(2, 2, 8, 0, gray, behind=chunk(b'eXIf', tiff(8))))
    put('image', 'png_text', png(2, 2, 8, 0, gray, before=chunk(b'tEXt', b'a\0b'), behind=chunk(b'tIME', bytes(7))))
    put('image', 'png_critical', png(2, 2, 8, 0, gray, before=chunk(b'ABCD', b'')))
    put('image', 'png_filter_5', png(2, 2, 8, 0, b'\5\1\2' * 2))
    put('image', 'png_short_data', png(2, 2, 8, 0, b'\0\1\2'))
    put('image', 'png_long_data', png(2, 2, 8, 0, bytes(3000000)))
    put('image', 'png_huge', png(60000, 60000, 8, 2, b''))
    put('image', 'png_zero', png(0, 2, 8, 0, b''))
    put('image', 'png_bomb', png(65535, 1000, 1, 0, bytes(8193 * 1000)))
    put('image', 'png_truncated', png(2, 2, 8, 0, gray)[:-14])
    put('image', 'png_palette_short', png(2, 2, 8, 3, gray, before=chunk(b'PLTE', b'\1\2\3')))

    def bmp(bits, rows, size=40, compression=0, palette=b'', masks=b'', w=3, h=2, colours=0):
        at = 14 + size + len(masks) + len(palette)
        if size == 12:
            info = struct.pack('<IHHHH', 12, w, h, 1, bits)
        else:
            info = struct.pack('<IiiHHIIiiII', size, w, h, 1, bits, compression, 0, 0, 0, colours, 0)
            info += bytes(size - len(info))
        return struct.pack('<2sIHHI', b'BM', at + len(rows), 0, 0, at) + info + masks + palette + rows
    put('image', 'bmp_24', bmp(24, bytes(range(24))))
    put('image', 'bmp_24_down', bmp(24, bytes(range(24)), h=-2))
    put('image', 'bmp_32', bmp(32, bytes(range(24))))
    put('image', 'bmp_16', bmp(16, bytes(range(16))))
    put('image', 'bmp_8', bmp(8, bytes(range(8)), palette=bytes(1024)))
    put('image', 'bmp_4', bmp(4, bytes(range(8)), palette=bytes(64)))
    put('image', 'bmp_1', bmp(1, bytes(range(8)), palette=bytes(8)))
    put('image', 'bmp_oldest', bmp(8, bytes(range(8)), size=12, palette=bytes(768)))
    put('image', 'bmp_v5', bmp(24, bytes(range(24)), size=124))
    put('image', 'bmp_masks', bmp(16, bytes(range(16)), compression=3, masks=struct.pack('<III', 0xf800, 0x7e0, 0x1f)))
    put('image', 'bmp_strange_masks', bmp(32, bytes(range(24)), compression=3, masks=struct.pack('<III', 5, 6, 9)))
    put('image', 'bmp_rle8', bmp(8, bytes(range(8)), compression=1, palette=bytes(1024)))
    put('image', 'bmp_few_colours', bmp(8, bytes(range(8)), palette=bytes(8), colours=2))
    put('image', 'bmp_huge', bmp(24, bytes(range(24)), w=2**31 - 1, h=-2**31))
    put('image', 'bmp_truncated', bmp(24, bytes(range(24)))[:-4])

    for kind, body in (('P1', b'0 1 1\n0 1 0'), ('P2', b'0 10 255 9 8 7'), ('P3', b' '.join([b'1'] * 18)),
                       ('P4', b'\xa0\x40'), ('P5', bytes(6)), ('P6', bytes(18))):
        most = b'' if kind in ('P1', 'P4') else b'255\n'
        put('image', 'pnm_' + kind, kind.encode() + b'\n# comment\n3 2\n' + most + body)
    put('image', 'pnm_16_bits', b'P5 3 2 65535\n' + bytes(12))
    put('image', 'pnm_low', b'P2 3 2 7 0 1 2 3 4 9')
    put('image', 'pnm_huge', b'P5 65535 65535 255\n')
    put('image', 'pnm_truncated', b'P6 3 2 255\n' + bytes(5))

    jpeg = (CORPUS / 'image/s420.jpg').read_bytes()

    def segment(marker, body, at=2):
        return jpeg[:at] + bytes([0xff, marker]) + struct.pack('>H', len(body) + 2) + body + jpeg[at:]
    put('image', 'exif_6.jpg', segment(0xe1, b'Exif\0\0' + tiff(6)))
    put('image', 'exif_garbage.jpg', segment(0xe1, b'Exif\0\0' + b'MM\0*' + b'\xff' * 40))
    put('image', 'exif_late.jpg', segment(0xe1, b'Exif\0\0' + tiff(6), len(jpeg) - 2))
    put('image', 'comment.jpg', segment(0xfe, b'comment'))
    put('image', 'adobe.jpg', segment(0xee, b'Adobe\0\x64\0\0\0\0\0'))
    put('image', 'truncated.jpg', jpeg[:-2])
    put('image', 'arithmetic.jpg', jpeg.replace(b'\xff\xc0', b'\xff\xc9'))
    put('image', 'lossless.jpg', jpeg.replace(b'\xff\xc0', b'\xff\xc3'))
    put('image', 'trailing.jpg', jpeg + b'more')
    put('image', 'hollow.jpg', jpeg[:jpeg.index(b'\xff\xda') + 30] + b'\xff\xd9')
    frame = jpeg.index(b'\xff\xc0')
    put('image', 'huge.jpg', jpeg[:frame + 5] + b'\xff\xff\xff\xff' + jpeg[frame + 9:])
    for name, magic in (('gif', b'GIF89a'), ('webp', b'RIFF1234WEBPVP8 '), ('tiff', b'II*\0'), ('avif', b'1234ftypavif')):
        put('image', 'foreign_' + name, magic + bytes(20))

    for chroma, size in (('420jpeg', 9), ('422', 12), ('444', 18), ('mono', 6)):
        width, height = (3, 2) if chroma in ('444', 'mono') else (2, 3) if chroma == '422' else (3, 2)
        size = width * height + 2 * {'420jpeg': 2, '422': 3, '444': 6, 'mono': 0}[chroma]
        frame = b'FRAME\n' + bytes(range(size))
        put('image', 'y4m_' + chroma, f'YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C{chroma} XCOLORRANGE=FULL\n'.encode()
            + frame * 2)
    put('image', 'y4m_truncated', b'YUV4MPEG2 W3 H2 F25:1\nFRAME\n' + bytes(5))
    put('image', 'y4m_huge', b'YUV4MPEG2 W60000 H60000\nFRAME\n')
    put('image', 'y4m_parameters', b'YUV4MPEG2 W2 H2 Cmono\nFRAME Ip Xa\n' + bytes(4))


# ---- Label files, data.yaml and hyp.yaml
def labels():
    put('label', 'boxes.txt', '0 0.5 0.5 0.25 0.125\n2 0.1 0.2 0.05 0.1\n1.0 .9 .9 .4 .4\n')
    put('label', 'outline.txt', '1 0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.6\r\n\n\t0 0 0 1 0 1 1\n')
    put('label', 'bom.txt', b'\xef\xbb\xbf0\t0.5 5e-1 +.25 1\n')
    put('label', 'bad.txt', '0 0.5 0.5\n0 1.5 0.5 0.1 0.1\n-1 .5 .5 .1 .1\n1.5 .5 .5 .1 .1\n0,0.5,0.5,0.1,0.1\n'
        '0 nan .5 .1 .1\n0 inf .5 .1 .1\n0 .5 .5 0 .1\n9 .5 .5 .1 .1\n0 .5 .5 .1 .1 .9\n99999999999 .5 .5 .1 .1\n'
        '0 .5 .5 1e-9 .1\n0 .5 .5 .1 .1\n0 .5 .5 .1 .1\n0 1e999 .5 .1 .1\n')
    put('label', 'digits.txt', '０ ０.5 0.5 0.1 0.1\n')
    put('label', 'many.txt', '0 .5 .5 .1 .1\n' * 9)
    put('label', 'data_list.yaml', 'path: ../set\ntrain: images/train\nval: [images/val, more.txt]\ntest:\nnc: 2\n'
        'names: [cat, dog]\ndownload: echo marker\n')
    put('label', 'data_map.yaml', 'train: a\nval: b\nnames:\n  0: cat\n  1: dog\n  2: cat\n')
    put('label', 'data_gap.yaml', 'train: a\nval: b\nnames: {0: cat, 2: dog}\n')
    put('label', 'data_count.yaml', 'train: a\nval: b\nnc: 3\nnames: [cat, dog]\n')
    put('label', 'data_url.yaml', 'train: https://example.com/a.zip\nval: b\nnames: [cat]\n')
    put('label', 'data_empty_list.yaml', 'train: []\nval: b\nnames: []\n')
    fields = {'lr0': 0.01, 'lrf': 0.01, 'momentum': 0.937, 'weight_decay': 0.0005, 'warmup_epochs': 3.0,
              'warmup_momentum': 0.8, 'warmup_bias_lr': 0.1, 'box': 0.05, 'cls': 0.5, 'cls_pw': 1.0, 'obj': 1.0,
              'obj_pw': 1.0, 'iou_t': 0.2, 'anchor_t': 4.0, 'fl_gamma': 0.0, 'hsv_h': 0.015, 'hsv_s': 0.7, 'hsv_v': 0.4,
              'degrees': 0.0, 'translate': 0.1, 'scale': 0.5, 'shear': 0.0, 'perspective': 0.0, 'flipud': 0.0,
              'fliplr': 0.5, 'mosaic': 1.0, 'mixup': 0.0, 'copy_paste': 0.0}
    hyp = ''.join(f'{name}: {value}\n' for name, value in fields.items())
    put('label', 'hyp.yaml', hyp)
    put('label', 'hyp_anchors.yaml', '# comment\n' + hyp.replace('0.01', '1e-2') + 'anchors: 3\n')
    put('label', 'hyp_typo.yaml', hyp.replace('lr0', 'lr_0'))
    put('label', 'hyp_nan.yaml', hyp.replace('0.937', '.nan'))
    put('label', 'hyp_range.yaml', hyp.replace('0.937', '1e300'))
    put('label', 'hyp_missing.yaml', 'lr0: 0.01\n')


# ---- The state of a training
def states():
    epoch = [0, [0.1, 0.2, 0.3], [0.4, 0.5, None], 0.6, 0.7, 0.8, 0.9, [0.01, 0.01, 0.1]]
    whole = {'format': 1, 'program': 'slimneck 0.1.0', 'generation': 3,
             'progress': {'epoch': 1, 'batch': 2, 'iteration': 12, 'last_move': 11, 'moves': 6, 'averages': 6,
                          'best_fitness': 0.81, 'best_epoch': 0},
             'loss_sum': [1.5, 2.5, 1e-300], 'balance': [4.0, 1.0, 0.4], 'class_fitness': [0.5, None],
             'history': [epoch, epoch], 'options': {'cfg': 'slimneck-n', 'img': '64', '\u00e9': ''},
             'data': '0123abcd', 'tensors': {'file': 'last-3.safetensors', 'bytes': 1234, 'sha256': '0' * 64}}

    def but(**changes):
        return json.dumps({**whole, **changes})
    put('state', 'whole', json.dumps(whole, indent=1))
    put('state', 'newer', but(format=2))
    put('state', 'negative', but(generation=-1))
    put('state', 'huge', but(generation=2**64 - 1))
    put('state', 'fraction', but(generation=1.5))
    put('state', 'no_options', json.dumps({k: v for k, v in whole.items() if k != 'options'}))
    put('state', 'odd_options', but(options={'a': 1}))
    put('state', 'short_history', but(history=[[0]]))
    put('state', 'odd_history', but(history={'0': epoch}))
    put('state', 'surrogate', but(data='x').replace('"x"', '"\\ud800"'))
    put('state', 'overflow', but(loss_sum=[1, 2, 3]).replace('[1, 2, 3]', '[1e999, -1e999, 0]'))
    put('state', 'twice', '{"format": 1, "format": 1}')
    put('state', 'nested', '[' * 5000)
    put('state', 'many_options', but(options={str(i): '' for i in range(1000)}))
    put('state', 'not_utf8', b'{"format": 1, "data": "\xff"}')
    put('state', 'truncated', json.dumps(whole)[:-40])
    put('state', 'empty', '')


if __name__ == '__main__':
    yaml()
    safetensors()
    pt()
    pictures()
    labels()
    states()
