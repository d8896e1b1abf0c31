// As much of JSON as a manifest needs: read only, no dependency.
#pragma once

#include <cctype>
#include <cstdlib>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

class Json {
public:
    static Json parse(const std::string& text) {
        Reader reader{text, 0};
        Json value = reader.value(0);
        reader.space();
        if (reader.at != text.size()) throw std::runtime_error("JSON: text after the end");
        return value;
    }

    const Json& operator[](const std::string& key) const {
        auto found = members_.find(key);
        if (found == members_.end()) throw std::runtime_error("manifest.json lacks " + key);
        return found->second;
    }
    bool is_null() const { return kind_ == Kind::null; }
    const std::vector<Json>& items() const { return items_; }
    const std::string& text() const { return text_; }
    double number() const { return std::strtod(text_.c_str(), nullptr); }

private:
    enum class Kind { null, scalar, array, object };
    Kind kind_ = Kind::null;
    std::string text_;
    std::vector<Json> items_;
    std::map<std::string, Json> members_;

    struct Reader {
        const std::string& text;
        size_t at;

        void space() {
            while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at]))) ++at;
        }
        char peek() {
            space();
            if (at >= text.size()) throw std::runtime_error("JSON: unexpected end");
            return text[at];
        }
        void expect(char wanted) {
            if (peek() != wanted) throw std::runtime_error(std::string("JSON: expected ") + wanted);
            ++at;
        }
        Json value(int depth) {
            if (depth > 64) throw std::runtime_error("JSON: too deep");
            switch (peek()) {
                case '{': return object(depth);
                case '[': return array(depth);
                case '"': return scalar(string());
                default: return word();
            }
        }
        Json object(int depth) {
            Json result;
            result.kind_ = Kind::object;
            expect('{');
            while (peek() != '}') {
                std::string key = string();
                expect(':');
                result.members_[key] = value(depth + 1);
                if (peek() != '}') expect(',');
            }
            ++at;
            return result;
        }
        Json array(int depth) {
            Json result;
            result.kind_ = Kind::array;
            expect('[');
            while (peek() != ']') {
                result.items_.push_back(value(depth + 1));
                if (peek() != ']') expect(',');
            }
            ++at;
            return result;
        }
        // Escapes other than the simple ones stay as they are: no name or number that is read here has any.
        std::string string() {
            expect('"');
            std::string result;
            while (at < text.size() && text[at] != '"') {
                if (text[at] == '\\' && at + 1 < text.size() && text[at + 1] != 'u') ++at;
                result += text[at++];
            }
            expect('"');
            return result;
        }
        Json word() {
            size_t start = at;
            while (at < text.size() && (std::isalnum(static_cast<unsigned char>(text[at])) || text[at] == '.' ||
                                        text[at] == '-' || text[at] == '+'))
                ++at;
            if (at == start) throw std::runtime_error("JSON: unexpected character");
            std::string found = text.substr(start, at - start);
            return found == "null" ? Json() : scalar(found);
        }
        static Json scalar(const std::string& text) {
            Json result;
            result.kind_ = Kind::scalar;
            result.text_ = text;
            return result;
        }
    };
};
