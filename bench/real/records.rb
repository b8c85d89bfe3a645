# Strings, arrays and hashes in Ruby, whose contents beyond a slot of its heap come from malloc: lines of a log parsed into
# records, grouped, joined, and written as text; a table of objects under churn. Prints sums of the results.
# Usage: ruby records.rb FILE
Record = Struct.new(:time, :address, :path, :query, :status, :size, :words)

def parse(line)
  time, address, target, status, size, *words = line.split(' ')
  path, query = target.split('?')
  Record.new(time.to_i, address, path, query, status, size.to_i, words)
end

lines = File.readlines(ARGV[0])
letters = groups = 0
table = {}
3.times do |round|
  records = lines.map { |line| parse(line) }
  by_path = records.group_by(&:path)
  groups += by_path.size
  report = by_path.sort.map do |path, found|
    "#{path}: #{found.size} #{found.sum(&:size)} " + found.flat_map(&:words).map(&:upcase).join('-')
  end
  letters += report.join("\n").gsub(/[AEIOU]/) { |v| v * 2 }.size
  records.each_with_index { |r, i| i % 3 == round % 3 ? table.delete(r.query) : table[r.query] = r.words * 3 }
end
puts "#{groups} #{letters} #{table.size} #{table.sum { |_, words| words.size }}"
