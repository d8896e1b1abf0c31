// Reads the PNGs of a bundle: 8 bits a channel, grey or RGB, not interlaced. No dependency; see RFC 1950, 1951, 2083.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

struct Pixels {
    size_t height = 0, width = 0;
    std::vector<uint8_t> bgr;  // height x width x 3
};

namespace png {

using Bytes = std::vector<uint8_t>;

inline void require(bool holds) {
    if (!holds) throw std::runtime_error("not an 8-bit grey or RGB PNG, or a damaged one");
}

class Inflater {
public:
    Inflater(const Bytes& data, size_t limit) : data_(data), limit_(limit) {}

    Bytes run() {
        at_ = 2;  // the zlib header
        for (bool last = false; !last;) {
            last = bits(1) != 0;
            unsigned kind = bits(2);
            require(kind != 3);
            if (kind == 0) stored();
            else if (kind == 1) fixed();
            else dynamic();
        }
        return std::move(out_);
    }

private:
    struct Code {
        std::vector<uint16_t> count = std::vector<uint16_t>(16), symbol;
        explicit Code(const std::vector<uint8_t>& lengths) : symbol(lengths.size()) {
            for (uint8_t length : lengths) ++count[length];
            std::vector<uint16_t> offset(16);
            for (int i = 1; i < 15; ++i) offset[i + 1] = static_cast<uint16_t>(offset[i] + count[i]);
            for (size_t i = 0; i < lengths.size(); ++i)
                if (lengths[i]) symbol[offset[lengths[i]]++] = static_cast<uint16_t>(i);
            count[0] = 0;
        }
    };

    const Bytes& data_;
    size_t limit_, at_ = 0;
    uint32_t hold_ = 0;
    unsigned held_ = 0;
    Bytes out_;

    unsigned bits(unsigned wanted) {
        while (held_ < wanted) {
            require(at_ < data_.size());
            hold_ |= static_cast<uint32_t>(data_[at_++]) << held_;
            held_ += 8;
        }
        unsigned value = hold_ & ((1u << wanted) - 1);
        hold_ >>= wanted;
        held_ -= wanted;
        return value;
    }
    unsigned decode(const Code& code) {
        int value = 0, first = 0, index = 0;
        for (int length = 1; length < 16; ++length) {
            value |= static_cast<int>(bits(1));
            int count = code.count[length];
            if (value - count < first) return code.symbol.at(index + (value - first));
            index += count;
            first = (first + count) << 1;
            value <<= 1;
        }
        require(false);
        return 0;
    }
    void put(uint8_t byte) {
        require(out_.size() < limit_);
        out_.push_back(byte);
    }
    void stored() {
        hold_ = held_ = 0;
        require(at_ + 4 <= data_.size());
        size_t length = data_[at_] | data_[at_ + 1] << 8;
        at_ += 4;
        require(at_ + length <= data_.size());
        while (length--) put(data_[at_++]);
    }
    void fixed() {
        std::vector<uint8_t> lengths(288, 8);
        for (int i = 144; i < 256; ++i) lengths[i] = 9;
        for (int i = 256; i < 280; ++i) lengths[i] = 7;
        codes(Code(lengths), Code(std::vector<uint8_t>(30, 5)));
    }
    void dynamic() {
        static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
        unsigned literals = bits(5) + 257, distances = bits(5) + 1, codes_given = bits(4) + 4;
        std::vector<uint8_t> lengths(19);
        for (unsigned i = 0; i < codes_given; ++i) lengths[order[i]] = static_cast<uint8_t>(bits(3));
        Code code(lengths);
        std::vector<uint8_t> all;
        while (all.size() < literals + distances) {
            unsigned symbol = decode(code), times = 1;
            uint8_t length = static_cast<uint8_t>(symbol < 16 ? symbol : 0);
            if (symbol == 16) {
                require(!all.empty());
                length = all.back();
                times = 3 + bits(2);
            } else if (symbol == 17) {
                times = 3 + bits(3);
            } else if (symbol == 18) {
                times = 11 + bits(7);
            }
            all.insert(all.end(), times, length);
        }
        require(all.size() == literals + distances);
        codes(Code({all.begin(), all.begin() + literals}), Code({all.begin() + literals, all.end()}));
    }
    void codes(const Code& literal, const Code& distance) {
        static const uint16_t base[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                          31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
        static const uint8_t extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                          2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
        for (unsigned symbol; (symbol = decode(literal)) != 256;) {
            if (symbol < 256) {
                put(static_cast<uint8_t>(symbol));
                continue;
            }
            require(symbol - 257 < 29);
            size_t length = base[symbol - 257] + bits(extra[symbol - 257]);
            unsigned far = decode(distance), more = far < 4 ? 0 : far / 2 - 1;
            require(far < 30);
            size_t back = far < 4 ? far + 1 : ((2 + (far & 1u)) << more) + 1 + bits(more);
            require(back <= out_.size());
            while (length--) put(out_[out_.size() - back]);
        }
    }
};

inline uint32_t big_endian(const Bytes& data, size_t at) {
    return static_cast<uint32_t>(data.at(at)) << 24 | data.at(at + 1) << 16 | data.at(at + 2) << 8 | data.at(at + 3);
}

inline uint8_t predicted(uint8_t filter, int left, int up, int corner) {
    int guess = left + up - corner, a = std::abs(guess - left), b = std::abs(guess - up), c = std::abs(guess - corner);
    switch (filter) {
        case 0: return 0;
        case 1: return static_cast<uint8_t>(left);
        case 2: return static_cast<uint8_t>(up);
        case 3: return static_cast<uint8_t>((left + up) / 2);
        case 4: return static_cast<uint8_t>(a <= b && a <= c ? left : b <= c ? up : corner);
        default: require(false); return 0;
    }
}

// The decoded image, if it has this size; a file that claims another is not decoded.
inline Pixels read(const Bytes& file, size_t height, size_t width) {
    require(file.size() > 33 && big_endian(file, 0) == 0x89504E47u && big_endian(file, 4) == 0x0D0A1A0Au);
    require(big_endian(file, 16) == width && big_endian(file, 20) == height && file[24] == 8 && file[28] == 0);
    require(file[25] == 0 || file[25] == 2);
    size_t channels = file[25] == 2 ? 3 : 1, row = width * channels;
    Bytes packed;
    for (size_t at = 8; at + 12 <= file.size();) {
        size_t length = big_endian(file, at);
        require(length <= file.size() - at - 12);
        if (big_endian(file, at + 4) == 0x49444154u)  // IDAT
            packed.insert(packed.end(), file.begin() + at + 8, file.begin() + at + 8 + length);
        at += 12 + length;
    }
    Bytes raw = Inflater(packed, height * (row + 1)).run();
    require(raw.size() == height * (row + 1));
    Bytes plain(height * row);
    for (size_t y = 0; y < height; ++y)
        for (size_t x = 0; x < row; ++x) {
            int left = x < channels ? 0 : plain[y * row + x - channels];
            int up = y == 0 ? 0 : plain[(y - 1) * row + x];
            int corner = y == 0 || x < channels ? 0 : plain[(y - 1) * row + x - channels];
            uint8_t guess = predicted(raw[y * (row + 1)], left, up, corner);
            plain[y * row + x] = static_cast<uint8_t>(raw[y * (row + 1) + 1 + x] + guess);
        }
    Pixels image{height, width, Bytes(height * width * 3)};
    for (size_t i = 0; i < height * width; ++i)
        for (size_t c = 0; c < 3; ++c) image.bgr[3 * i + c] = plain[i * channels + (channels == 3 ? 2 - c : 0)];
    return image;
}

}  // namespace png
