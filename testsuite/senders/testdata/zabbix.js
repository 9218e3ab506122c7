// Runs a script as a media type of Zabbix: with its value, and with the object by which it makes requests.
const { execFileSync } = require('child_process');

class HttpRequest {
  headers = [];

  addHeader(line) { this.headers.push('-H', line); }

  post(url, data) {
    const out = execFileSync('curl', ['-sS', '-w', '\n%{http_code}', ...this.headers, '--data-binary', data, url]).toString();
    const at = out.lastIndexOf('\n');
    this.status = Number(out.slice(at + 1));
    return out.slice(0, at);
  }

  getStatus() { return this.status; }
}

process.stdout.write(new Function('value', 'HttpRequest', process.argv[2])(process.argv[3], HttpRequest));
