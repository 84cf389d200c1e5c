DELETE FROM mails
WHERE customer = :key
