package notice

import "strings"

// emojis are short codes that programs send in alerts and messages, with what they stand for. Others stay as they are.
var emojis = map[string]string{
	// States and signs.
	"white_check_mark": "✅", "heavy_check_mark": "✔️", "ballot_box_with_check": "☑️", "x": "❌",
	"negative_squared_cross_mark": "❎",
	"warning":                     "⚠️", "rotating_light": "🚨", "no_entry": "⛔", "no_entry_sign": "🚫",
	"stop_sign": "🛑", "octagonal_sign": "🛑",
	"exclamation": "❗", "heavy_exclamation_mark": "❗", "bangbang": "‼️", "question": "❓", "grey_question": "❔",
	"information_source": "ℹ️", "sos": "🆘", "new": "🆕", "ok": "🆗", "up": "🆙", "free": "🆓", "100": "💯",
	"red_circle": "🔴", "orange_circle": "🟠", "yellow_circle": "🟡", "green_circle": "🟢", "large_blue_circle": "🔵",
	"large_green_circle": "🟢", "large_yellow_circle": "🟡", "large_orange_circle": "🟠", "purple_circle": "🟣",
	"white_circle": "⚪", "black_circle": "⚫", "red_square": "🟥", "large_red_square": "🟥", "green_square": "🟩",
	"large_green_square": "🟩", "yellow_square": "🟨", "blue_square": "🟦", "large_blue_square": "🟦",
	"arrow_up": "⬆️", "arrow_down": "⬇️", "arrow_right": "➡️", "arrow_left": "⬅️", "arrows_counterclockwise": "🔄",
	"repeat": "🔁", "recycle": "♻️", "heavy_plus_sign": "➕", "heavy_minus_sign": "➖", "zzz": "💤", "checkered_flag": "🏁",
	"triangular_flag_on_post": "🚩", "white_flag": "🏳️", "construction": "🚧", "radioactive": "☢️", "biohazard": "☣️",
	// Machines and files.
	"computer": "💻", "desktop_computer": "🖥️", "keyboard": "⌨️", "printer": "🖨️", "iphone": "📱", "phone": "☎️",
	"telephone_receiver": "📞", "floppy_disk": "💾", "cd": "💿", "dvd": "📀", "minidisc": "💽", "electric_plug": "🔌",
	"battery": "🔋", "satellite": "📡", "globe_with_meridians": "🌐", "robot": "🤖", "robot_face": "🤖", "gear": "⚙️",
	"wrench": "🔧", "hammer": "🔨", "hammer_and_wrench": "🛠️", "nut_and_bolt": "🔩", "toolbox": "🧰", "package": "📦",
	"file_folder": "📁", "open_file_folder": "📂", "page_facing_up": "📄", "clipboard": "📋", "memo": "📝", "pencil": "📝",
	"pencil2": "✏️", "paperclip": "📎", "link": "🔗", "bookmark": "🔖", "label": "🏷️", "calendar": "📅", "date": "📅",
	"chart_with_upwards_trend": "📈", "chart_with_downwards_trend": "📉", "bar_chart": "📊", "inbox_tray": "📥",
	"outbox_tray": "📤", "email": "📧", "envelope": "✉️", "incoming_envelope": "📨", "mailbox": "📫", "mag": "🔍",
	"lock": "🔒", "unlock": "🔓", "key": "🔑", "shield": "🛡️", "bug": "🐛", "test_tube": "🧪", "microscope": "🔬",
	"camera": "📷", "video_camera": "📹", "tv": "📺", "bulb": "💡", "flashlight": "🔦", "thermometer": "🌡️", "whale": "🐳",
	"penguin": "🐧", "snake": "🐍", "cd_rom": "💿", "factory": "🏭", "office": "🏢", "house": "🏠", "door": "🚪",
	// Time, weather, things that happen.
	"alarm_clock": "⏰", "clock1": "🕐", "hourglass": "⌛", "hourglass_flowing_sand": "⏳",
	"stopwatch": "⏱️", "timer_clock": "⏲️",
	"bell": "🔔", "no_bell": "🔕", "loudspeaker": "📢", "mega": "📣", "speech_balloon": "💬", "fire": "🔥", "boom": "💥",
	"zap": "⚡", "droplet": "💧", "ocean": "🌊", "snowflake": "❄️", "sunny": "☀️", "cloud": "☁️", "umbrella": "☔",
	"rocket": "🚀", "airplane": "✈️", "car": "🚗", "truck": "🚚", "train": "🚆", "bike": "🚲", "ambulance": "🚑",
	"fire_engine": "🚒", "police_car": "🚓", "star": "⭐", "star2": "🌟", "sparkles": "✨", "tada": "🎉", "partying_face": "🥳",
	"gift": "🎁", "trophy": "🏆", "moneybag": "💰", "credit_card": "💳", "shopping_cart": "🛒", "coffee": "☕", "beer": "🍺",
	"pizza": "🍕", "dog": "🐶", "cat": "🐱", "baby": "👶", "wastebasket": "🗑️",
	// People and hearts.
	"+1": "👍", "thumbsup": "👍", "-1": "👎", "thumbsdown": "👎", "wave": "👋", "clap": "👏", "pray": "🙏", "muscle": "💪",
	"point_right": "👉", "eyes": "👀", "ghost": "👻", "skull": "💀", "smile": "😄", "smiley": "😃", "grinning": "😀",
	"grin": "😁", "joy": "😂", "wink": "😉", "thinking": "🤔", "thinking_face": "🤔", "facepalm": "🤦", "scream": "😱",
	"cry": "😢", "sob": "😭", "rage": "😡", "angry": "😠", "confused": "😕", "disappointed": "😞", "heart": "❤️",
	"broken_heart": "💔", "green_heart": "💚", "mailbox_with_mail": "📬", "technologist": "🧑‍💻",
}

// emoji is what a short code stands for, without colons around it; "" of none that is known.
func emoji(code string) string { return emojis[code] }

// emojiAt is the emoji whose short code, between colons, a text begins with, and how many bytes of the text say so; 0
// where there is none that is known.
func emojiAt(s string) (sign string, used int) {
	if s == "" || s[0] != ':' {
		return "", 0
	}
	end := strings.IndexByte(s[1:min(len(s), maxCode)], ':')
	if end <= 0 || emoji(s[1:1+end]) == "" {
		return "", 0
	}
	return emoji(s[1 : 1+end]), end + 2
}

// maxCode is how far behind a colon the other one is looked for: longer than any short code, so that a text of colons
// is not read again for each of them.
const maxCode = 50
