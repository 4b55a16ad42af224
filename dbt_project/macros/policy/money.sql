{# Money stays DECIMAL(18,4); only a division passes through a double, and is rounded at once. #}
{% macro money(expression) -%} cast({{ expression }} as decimal(18, 4)) {%- endmacro %}

{# amount × numerator ÷ denominator as money; null when the denominator is 0 or null. #}
{% macro money_share(amount, numerator, denominator) -%}
    cast(round(
        cast({{ amount }} as double) * cast({{ numerator }} as double) / nullif(cast({{ denominator }} as double), 0), 4
    ) as decimal(18, 4))
{%- endmacro %}

{# Amount without the tax that it holds. Undivided when there is nothing to take off, so that it stays exact. #}
{% macro without_tax(amount, price_includes_tax, tax_rate) -%}
    case
        when {{ price_includes_tax }} and {{ tax_rate }} > 0
            then cast(round(cast({{ amount }} as double) / (1 + cast({{ tax_rate }} as double)), 4) as decimal(18, 4))
        else {{ amount }}
    end
{%- endmacro %}

{# An amount of another currency in the reporting one; as it is, and so exact, where it is in that already. #}
{% macro converted(amount, exchange_rate) -%}
    case
        when {{ exchange_rate }} = 1 then {{ amount }}
        else cast(cast({{ amount }} as decimal(18, 4)) * cast({{ exchange_rate }} as decimal(18, 8)) as decimal(18, 4))
    end
{%- endmacro %}

{# Fraction with its denominator guarded; a double, as rates are. #}
{% macro rate(numerator, denominator) -%}
    cast({{ numerator }} as double) / nullif(cast({{ denominator }} as double), 0)
{%- endmacro %}
