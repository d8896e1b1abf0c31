// Runs a bundle without Python: scores its golden images and says whether they come out as they have to.
//
//     score_golden BUNDLE [DEVICE]
//
// Needs OpenVINO's C++ headers and library and nothing else. Ends with 0 when every score is within its tolerance and
// with 4 when not. docs/bundle.md says what the files mean.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include <openvino/openvino.hpp>

#include "json.hpp"
#include "png.hpp"

namespace {

png::Bytes read_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw std::runtime_error(path + " cannot be read");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// NG above the threshold, WARN above the lower one where there is one; what is no number is an ERROR, never OK.
const char* judge(double score, const Json& thresholds) {
    if (!std::isfinite(score)) return "ERROR";
    if (score > thresholds["image"].number()) return "NG";
    return !thresholds["warn"].is_null() && score > thresholds["warn"].number() ? "WARN" : "OK";
}

class Graph {
public:
    Graph(const std::string& xml, const std::string& device) {
        // Left alone, some devices compute in half precision, which the bundle was not verified for.
        ov::AnyMap config{ov::hint::inference_precision(ov::element::f32),
                          ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY)};
        request_ = core_.compile_model(xml, device, config).create_infer_request();
        input_ = request_.get_tensor("frame");
    }

    // The graph takes uint8 [N,H,W,3] BGR; with N above 1 the image is repeated and the first score taken.
    double score(const Pixels& image) {
        ov::Shape shape = input_.get_shape();
        if (shape[1] != image.height || shape[2] != image.width) throw std::runtime_error("image of another size");
        for (size_t n = 0; n < shape[0]; ++n)
            std::memcpy(input_.data<uint8_t>() + n * image.bgr.size(), image.bgr.data(), image.bgr.size());
        request_.infer();
        return request_.get_tensor("pred_score").data<float>()[0];
    }

private:
    ov::Core core_;
    ov::InferRequest request_;
    ov::Tensor input_;
};

size_t side(const Json& spec, const char* crop, const char* whole) {
    return static_cast<size_t>((spec[crop].is_null() ? spec[whole] : spec[crop]).number());
}

int run(const std::string& bundle, const std::string& device) {
    png::Bytes text = read_file(bundle + "/manifest.json");
    Json manifest = Json::parse(std::string(text.begin(), text.end()));
    const Json& spec = manifest["preprocess"];
    size_t height = side(spec, "crop_height", "height"), width = side(spec, "crop_width", "width");
    Graph graph(bundle + "/model.xml", device);
    bool all_hold = true;
    for (const Json& golden : manifest["golden"].items()) {
        const std::string& name = golden["file"].text();
        double expected = golden["pred_score"].number();
        double score = graph.score(png::read(read_file(bundle + "/" + name), height, width));
        double deviation = std::fabs(score - expected) / expected;
        bool holds = deviation <= golden["tolerance"].number();  // false for NaN
        all_hold = all_hold && holds;
        std::printf("%s score %.9g expected %.9g deviation %.1e %s %s\n", name.c_str(), score, expected, deviation,
                    judge(score, manifest["thresholds"]), holds ? "holds" : "FAILS");
    }
    return all_hold ? 0 : 4;
}

}  // namespace

int main(int count, char** words) {
    if (count < 2 || count > 3) {
        std::fprintf(stderr, "usage: score_golden BUNDLE [DEVICE]\n");
        return 2;
    }
    try {
        return run(words[1], count == 3 ? words[2] : "CPU");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "error: %s\n", error.what());
        return 4;
    }
}
